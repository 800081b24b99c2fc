"""Whether a folder's file locks hold, and between whom: by its file system, and how that is mounted."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from kdcore.console import warn

OWN = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "ramfs", "bcachefs", "squashfs")
CLUSTER = ("ceph", "gfs2", "ocfs2", "gpfs", "fuse.glusterfs")  # carry flock between machines by themselves
ONLY_HERE = "locks hold on this machine only, so no other machine may use this folder meanwhile"
TRY = "try it: `flock FILE sleep 60` on one machine, `flock -n FILE true && echo no lock` on another"


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, of which type, with which options."""

    place: str
    kind: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Locks:
    """hold: whether every machine that sees the folder sees its locks; None where that is not known. why: in words."""

    hold: bool | None
    why: str


def locks_of(folder: Path) -> Locks:
    """What is known of the locks of a folder that exists."""
    mount = mount_of(folder, _mounts())
    return judged(mount) if mount else Locks(None, "the system does not say what the file system is")


def mount_of(folder: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that a folder lies in: of those at or above it the deepest, and of several there the last."""
    place = folder.resolve()
    above = [mount for mount in mounts if place.is_relative_to(mount.place)]
    return max(reversed(above), key=lambda mount: len(mount.place), default=None)


def judged(mount: Mount) -> Locks:
    """What its type and its options say. Sources: nfs(5), mount.lustre(8), v9fs and FUSE in Linux's documentation."""
    kind, options = mount.kind, mount.options
    if kind in OWN:
        return Locks(True, f"{kind}, this machine's own disk: no other machine shares it")
    if kind in ("nfs", "nfs4"):
        if "nolock" in options or "local_lock=all" in options or "local_lock=flock" in options:
            return Locks(False, f"{kind}, mounted with {_given(options, 'nolock', 'local_lock=')}")
        version = next((option for option in options if option.startswith("vers=")), "")
        service = "in version 4 its server keeps the locks" if "vers=4" in version else "its lock service keeps them"
        return Locks(True, f"{kind} {version}: {service}".replace("  ", " "))
    if kind == "lustre":
        if "localflock" in options:
            return Locks(False, "lustre, mounted with localflock")
        shared = "flock" in options
        return Locks(shared or None, f"lustre, mounted {'with' if shared else 'without'} flock")
    if kind in CLUSTER:
        return Locks(True, f"{kind} keeps them for all machines")
    if kind in ("cifs", "smb3") and "nobrl" in options:
        return Locks(False, f"{kind}, mounted with nobrl")
    if kind == "9p" and (old := _given(options, "noextend", "version=9p2000.u")):
        return Locks(False, f"9p, mounted with {old}: only version 9p2000.L asks the server for locks")
    return Locks(None, f"{kind}: whether locks reach other machines depends on its server")


@cache
def warn_of_local_locks(store: Path) -> None:
    """Warn once where machines that share the store would all work on one run."""
    found = locks_of(store)
    if found.hold is False:
        warn(f"{store}: {ONLY_HERE} ({found.why})")


def _given(options: tuple[str, ...], *starts: str) -> str:
    return " and ".join(option for option in options if option.startswith(starts))


def _mounts() -> list[Mount]:
    """Every mount, in the order in which they were made; none where the system does not say."""
    try:
        found = psutil.disk_partitions(all=True)
    except OSError:
        return []
    return [Mount(one.mountpoint, one.fstype, tuple(one.opts.split(","))) for one in found]
