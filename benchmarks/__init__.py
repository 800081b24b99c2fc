"""How fast this project is, beside others and beside the machine: scripts, run as `python -m benchmarks.peers`."""

import os

# Before transformers is imported: its notes and bars would end up between the lines of the tables.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
