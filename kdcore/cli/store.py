"""The store of runs: what speaks for it, and against it."""

from kdcore.cli.command import command


@command(reads=())
def doctor() -> None:
    """Say where the store of runs is, whether its locks or leases can be trusted, who holds what, and the versions."""
    from kdcore.store.doctor import examine

    for line in examine():
        print(line, flush=True)
