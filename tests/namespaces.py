"""Linux namespaces for tests: commands without a network, and a small disk that can be full or read-only."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FILLER = "filler"


def unshare(*namespaces: str) -> list[str]:
    """The start of a command line whose rest runs in new namespaces (net, mount). Skips where the system refuses."""
    for identity in ([], ["--map-root-user"]):
        start = ["unshare", *identity, *(f"--{name}" for name in namespaces), "--"]
        if (
            shutil.which("unshare")
            and subprocess.run([*start, "true"], capture_output=True, check=False).returncode == 0
        ):
            return start
    pytest.skip(f"this system allows no new namespace ({', '.join(namespaces)})")


class Disk:
    """A file system of its own, mounted on `folder` for those processes only that are started through it."""

    def __init__(self, folder: Path, megabytes: int, cwd: Path) -> None:
        """Skips the test where the system lets it mount nothing. cwd: where its commands run."""
        self.folder = folder
        mount = 'mount -t tmpfs -o "size=$1" none "$0" && echo ready && exec cat'
        self._holder = subprocess.Popen(  # the mount lives as long as this process
            [*unshare("mount"), "sh", "-c", mount, str(folder), f"{megabytes}m"],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            pytest.skip(f"this system lets tests mount nothing: {self._holder.stderr.read()}")

    def command(self, *args: str) -> tuple[str, ...]:
        """The command line that runs these words where the disk is mounted."""
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        return ("nsenter", "--target", str(self._holder.pid), "--mount", *user, "--wd", "--", *args)

    @property
    def inside(self) -> Path:
        """The disk as this process, which does not have it mounted, can look into it."""
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    def files(self) -> set[str]:
        return {str(file.relative_to(self.inside)) for file in self.inside.rglob("*") if file.is_file()} - {FILLER}

    def fill(self, free: int) -> None:
        """Leave that many bytes free, or a page more."""
        there = os.statvfs(self.inside)
        (self.inside / FILLER).write_bytes(b"x" * max(0, there.f_bavail * there.f_frsize - free))

    def make_room(self) -> None:
        (self.inside / FILLER).unlink()

    def read_only(self) -> None:
        subprocess.run(self.command("mount", "-o", "remount,ro", str(self.folder)), check=True)

    def end(self) -> None:
        self._holder.kill()
        self._holder.communicate()
