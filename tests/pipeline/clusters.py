"""Clusters on this machine, of the engines' own daemons: several nodes on 127.0.0.1, each to be killed by its pids."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

PATIENCE = 1800  # seconds: who takes longer hangs, however slow the machine


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, below those that the kernel gives to clients."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def wait_until(there: Callable[[], object], what: str) -> None:
    """Wait for it; raises TimeoutError that says what did not come."""
    end = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


@contextmanager
def daemons(log: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """start(line, environment): daemons in the foreground; they, and all below them, are gone after the block."""
    started: list[subprocess.Popen[bytes]] = []
    file: IO[bytes]
    with log.open("ab") as file:

        def start(line: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
            own = {"stdout": file, "stderr": file, "start_new_session": True}
            started.append(subprocess.Popen(line, env=os.environ | environment, **own))  # type: ignore[call-overload]
            return started[-1]

        try:
            yield start
        finally:
            for daemon in reversed(started):
                with suppress(psutil.NoSuchProcess):
                    kill(*psutil.Process(daemon.pid).children(recursive=True))
                daemon.kill()
                daemon.wait()


@contextmanager
def ray_cluster(nodes: int) -> Iterator[dict[str, str]]:
    """A head without CPUs and nodes of one CPU; yields what `kdcore launch ray` needs in its environment.

    They ignore SIGINT, as what a script starts in its background does.
    """
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    few = ("--object-store-memory", "80000000", "--disable-usage-stats", "--block")
    # Where ray.init() left a token in ~/.ray, a head asks for it, and turns nodes away that were not told.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    share = {"RAY_worker_niceness": "0", **token}  # its own niceness is 15, and other tests run beside
    ray = ("sh", "-c", 'trap "" INT; exec "$0" "$@"', str(Path(sys.executable).with_name("ray")))
    try:
        with daemons(folder / "log") as start:
            head = ("--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false")
            node = (*ray, "start", "--address", f"127.0.0.1:{port}", "--num-cpus", "1", *few)
            lines = [(*ray, "start", *head, "--temp-dir", str(folder), *few), *[node] * nodes]
            for number, line in enumerate(lines, 1):  # one after another: they share a folder of logs
                _wait_for(start(line, **share), folder / "log", "Ray runtime started", number)
            yield {"RAY_ADDRESS": f"127.0.0.1:{port}", **token}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(daemon: subprocess.Popen[bytes], log: Path, words: str, times: int) -> None:
    """Wait until daemons have said the words so often. Raises ChildProcessError with their log where this one ended."""

    def said() -> bool:
        text = log.read_text(encoding="utf-8", errors="replace")
        if daemon.poll() is not None:
            raise ChildProcessError(text)
        return text.count(words) == times

    wait_until(said, words)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def of_ray_node(attempt: int) -> list[psutil.Process]:
    """What makes the node on which an attempt runs: its raylet."""
    parents = psutil.Process(attempt).parents()
    return [next(process for process in parents if process.name() == "raylet")]


SLURM = """
ClusterName=kdcore
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
MaxArraySize={size}
KillWait=30
SlurmdParameters=config_overrides
SelectType=select/linear
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{last}] CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_cluster(nodes: int, size: int = 1001) -> Iterator[dict[str, str]]:
    """munged, slurmctld and a slurmd for each of the nodes n1, n2, …; yields what Slurm's commands need.

    size: its MaxArraySize.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    first = next(port for port in iter(lambda: free_ports(1)[0], None) if not any(map(_listens, range(port, port + 9))))
    ports = [first, first + 1]
    (folder / "state").mkdir()
    host, user = socket.gethostname().partition(".")[0], psutil.Process().username()
    named = {"host": host, "user": user, "folder": folder, "ports": ports, "nodes": nodes, "last": first + nodes}
    text = SLURM.format(**named, size=size)
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    try:
        with daemons(folder / "log") as start:
            files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
            files |= {"log-file": folder / "munged.log", "seed-file": folder / "munged.seed"}
            start([sbin("munged"), "--foreground", "--force", *(f"--{name}={file}" for name, file in files.items())])
            wait_until((folder / "munge.socket").exists, "munged")
            start([sbin("slurmctld"), "-D"], **environment)
            for node in range(1, nodes + 1):
                start([sbin("slurmd"), "-D", "-N", f"n{node}"], **environment)
            wait_until(lambda: _idle(environment) == nodes, "the nodes of Slurm")
            yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def slurm_controller(environment: dict[str, str]) -> psutil.Process:
    """The cluster's slurmctld."""
    alike = [one for one in psutil.process_iter() if one.name() == "slurmctld"]
    return next(one for one in alike if one.environ().get("SLURM_CONF") == environment["SLURM_CONF"])


def sbin(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name


def has_slurm() -> bool:
    return all(Path(sbin(name)).is_absolute() for name in ("munged", "slurmctld", "slurmd"))


def _idle(environment: dict[str, str]) -> int:
    line = ["sinfo", "--noheader", "--Node", "--format=%T"]
    asked = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False)
    return asked.stdout.split().count("idle")


def of_slurm_node(attempt: int) -> list[psutil.Process]:
    """What makes the node on which an attempt runs: its slurmd, and what that has started for the job."""
    process = psutil.Process(attempt)
    node = process.environ()["SLURMD_NODENAME"]
    config = process.environ()["SLURM_CONF"]
    alike = [one for one in psutil.process_iter() if one.name() == "slurmd" and node in one.cmdline()]
    own = [one for one in alike if one.environ().get("SLURM_CONF") == config]
    return [*own, *(one for one in process.parents() if one.name().startswith("slurmstepd")), process]
