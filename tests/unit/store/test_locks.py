"""What a mount says of a folder's locks: lines as Linux writes them, from the manual pages of each file system."""

from pathlib import Path

import psutil
import pytest

from kdcore.store.locks import Mount, judged, locks_of, mount_of, warn_of_local_locks

NFS = "rw,relatime,vers={},rsize=1048576,hard,proto=tcp,timeo=600,sec=sys,local_lock={},addr=10.0.0.2"


@pytest.mark.parametrize(
    ("kind", "options", "hold", "why"),
    [
        ("ext4", "rw,relatime", True, "ext4, this machine's own disk: no other machine shares it"),
        ("overlay", "rw,lowerdir=/a,upperdir=/b,workdir=/c", True, "overlay, this machine's own disk"),
        ("nfs4", NFS.format("4.2", "none"), True, "nfs4 vers=4.2: in version 4 its server keeps the locks"),
        ("nfs", NFS.format("3", "none"), True, "nfs vers=3: its lock service keeps them"),
        ("nfs", NFS.format("3", "all"), False, "nfs, mounted with local_lock=all"),
        ("nfs", NFS.format("3", "flock"), False, "nfs, mounted with local_lock=flock"),
        ("nfs", NFS.format("3", "posix"), True, "nfs vers=3"),  # of which flock is none
        ("nfs", f"nolock,{NFS.format('3', 'all')}", False, "nfs, mounted with nolock and local_lock=all"),
        ("lustre", "rw,flock,lazystatfs", True, "lustre, mounted with flock"),
        ("lustre", "rw,localflock,lazystatfs", False, "lustre, mounted with localflock"),
        ("lustre", "rw,lazystatfs", None, "lustre, mounted without flock"),
        ("ceph", "rw,name=admin", True, "ceph keeps them for all machines"),
        ("9p", "rw,trans=virtio,version=9p2000.u", False, "9p, mounted with version=9p2000.u: only version 9p2000.L"),
        ("9p", "rw,trans=virtio,noextend", False, "9p, mounted with noextend"),
        ("9p", "rw,trans=virtio", None, "9p: whether locks reach other machines depends on its server"),
        ("cifs", "rw,vers=3.1.1,nobrl", False, "cifs, mounted with nobrl"),
        ("cifs", "rw,vers=3.1.1", None, "cifs: whether"),
        ("fuse.sshfs", "rw,user_id=0", None, "fuse.sshfs: whether locks reach other machines depends on its server"),
        ("virtiofs", "rw", None, "virtiofs: whether"),
    ],
)
def test_a_file_system_and_its_options_say_whom_locks_reach(kind: str, options: str, hold: bool | None, why: str):
    found = judged(Mount("/shared", kind, tuple(options.split(","))))
    assert found.hold is hold
    assert found.why.startswith(why)


def test_a_folder_lies_in_the_deepest_and_last_mount_above_it(tmp_path: Path):
    deep = Mount(str(tmp_path / "a b"), "nfs", ())
    mounts = [
        Mount("/", "ext4", ()),
        Mount(str(tmp_path / "a b"), "tmpfs", ()),
        deep,
        Mount(f"{tmp_path}/a", "xfs", ()),
    ]
    (tmp_path / "a b/c").mkdir(parents=True)
    assert mount_of(tmp_path / "a b/c", mounts) is deep
    (tmp_path / "link").symlink_to(tmp_path / "a b/c")
    assert mount_of(tmp_path / "link", mounts) is deep
    assert mount_of(tmp_path, mounts) is mounts[0]
    assert mount_of(tmp_path, []) is None


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Linux's /proc says is NFS with local locks; its name has a space, as the kernel writes it."""
    folder = tmp_path / "a b"
    folder.mkdir()
    written = str(folder).replace(" ", r"\040")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {written} nfs {NFS.format('3', 'all')} 0 0\n"
    )
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path), raising=False)
    warn_of_local_locks.cache_clear()
    return folder


def test_a_store_whose_locks_are_only_local_is_warned_of_once(mounted: Path, capsys: pytest.CaptureFixture[str]):
    for _ in range(2):
        warn_of_local_locks(mounted)
        warn_of_local_locks(mounted.parent)
    said = "locks hold on this machine only, so no other machine may use this folder meanwhile"
    assert capsys.readouterr().err == f"warning: {mounted}: {said} (nfs, mounted with local_lock=all)\n"


def test_where_the_system_does_not_say_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "absent"), raising=False)
    assert locks_of(tmp_path).hold is None


def test_the_root_of_this_machine_is_found():
    assert locks_of(Path("/")).why
