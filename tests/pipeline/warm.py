"""`python -m kdcore …`, `kdcore …` and `dvc …`, forked from a process that has loaded their libraries once.

Nine tenths of a stage in a tiny project are the import of torch, of transformers and of what they import. What is run
`warm` has that behind it; its command line, environment, folder, output and exit code are its own, and so is kdcore,
which is the project's. It has the namespaces, the limits and the process group of the server, though: where a test is
about these, about signals, about several processes or about the start of one, they start as a user's do. Such tests
also hold the finished project, which is made warm, against a user's processes: test_determinism.py, test_kills.py.
"""

import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("torch", "transformers.models.bert.modeling_bert", "transformers.models.auto.tokenization_auto", "accelerate"),
    *("pandas", "pyarrow.pandas_compat", "pyarrow.parquet", "safetensors.torch", "sklearn.metrics", "scipy.stats"),
    *("jinja2", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.figure"),
    *("pydantic.type_adapter", "ruamel.yaml", "typer"),
    *("dvc.cli.parser", "dvc.repo.experiments", "dvc.repo.index", "dvc.repo.plots", "dvc.repo.reproduce", "networkx"),
)
# As it is before a test changes it for itself: a server outlives the test that first asks for it. What libraries read
# while they load is as a command sets it: kdcore/cli/command.py.
ENVIRONMENT = os.environ | {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

# In place of `python`, `kdcore` and `dvc`: hands itself over to a fork, and ends as that does.
CLIENT = """#!{python} -IS
import json, os, socket, sys
place, name = os.path.split(sys.argv[0])
words = sys.argv[1:]
if name == "python":
    if words[:2] != ["-m", "kdcore"]:
        os.execv("{python}", ["{python}", *words])
    place, name, *words = os.getcwd(), *words[1:]
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{socket}")
    socket.send_fds(server, [b"-"], [0, 1, 2])
    server.sendall(json.dumps([place, name, words, os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    code = int(server.recv(16) or sys.exit("the process that was to run this has gone: tests/pipeline/warm.py"))
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def _server() -> tuple[Path, subprocess.Popen[bytes]]:
    """The folder of its commands, and this process's own server, which ends when its stdin does: with this process."""
    # Not in $TMPDIR, whose path may be long: a socket's has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="warm", dir="/tmp"))
    address = folder / "socket"
    for name in ("python", "kdcore", "dvc"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, socket=address))
        (folder / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        started = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), str(folder)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
        )
    return folder, started


def commands() -> Path:
    """A folder for the front of PATH."""
    return _server()[0]


def serve(listener: socket.socket, folder: Path) -> tuple[list[int], list[Any]]:
    """Returns in each fork, with its client's files and what it asks for; ends the server with its stdin."""
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who waits
    while True:
        if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
            shutil.rmtree(folder)
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            files = socket.recv_fds(connection, 1, 3)[1]
            asked = json.loads(connection.makefile().readline())
            if (child := os.fork()) == 0:
                connection.close()
                return files, asked
            for file in files:
                os.close(file)
            ended = os.pidfd_open(child)
            if connection in select.select([connection, ended], [], [])[0]:
                os.kill(child, signal.SIGKILL)  # its client was killed
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with suppress(BrokenPipeError):
                connection.sendall(str(code).encode())
            os._exit(0)
        connection.close()


def become(files: list[int], place: str, name: str, words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the command that the client was given, to its end."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name, *words]
    sys.path[0] = place  # `python -m kdcore` is the folder's, `kdcore` the installed one
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        given, said = serve(listening, Path(sys.argv[2]))
    become(given, *said)
