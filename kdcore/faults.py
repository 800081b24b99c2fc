"""What the machine refuses (room, permission, open files) as one line: the file, the reason, what to do."""

import errno

MAKE_ROOM = "make room on that disk"
LOCKS = "let its server give out locks, or set KDCORE_WORK to a folder on another disk"
ADVICE = {
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EFBIG: "allow larger files (`ulimit -f`, or another file system)",
    errno.EACCES: "give this user permission",
    errno.EPERM: "give this user permission",
    errno.EEXIST: "move that file away, or write elsewhere",
    errno.ENOTDIR: "move the file away that is where a folder should be, or write elsewhere",
    errno.EROFS: "make it writable, or work in another folder",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "close other programs: the machine has no open files left",
    **dict.fromkeys((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESTALE), LOCKS),
    errno.EIO: "the disk may be failing: look into the system's log",
}


def explained(error: OSError) -> str:
    """The error as a message for the user; one that has no advice is only named."""
    reason = error.strerror or str(error) or type(error).__name__
    said = f"{error.filename}: {reason}" if error.filename else reason
    advice = ADVICE.get(error.errno or 0)
    return f"{said}; {advice}, then run the same command again: what is finished is kept" if advice else said
