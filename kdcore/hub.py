"""What a name on a hub means now: the commit that a branch, or nothing at all, stands for."""

import re
from pathlib import Path
from typing import Literal, TypeAlias

from kdcore.console import say
from kdcore.errors import one_line

PINNED = re.compile(r"[0-9a-f]{40}")
PATIENCE = 5  # seconds that a hub may take to answer

Kind: TypeAlias = Literal["model", "dataset"]


def commit(name: str, revision: str | None, kind: Kind, known: str | None = None) -> str | None:
    """The commit of a repository. A revision that is one already is not asked for.

    known: what it was before, which counts where the hub can't be asked; else what is in its cache, or None.
    """
    if revision is not None and PINNED.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=PATIENCE).sha
    except Exception as error:  # no network, no such name, no right to read it: libraries raise a dozen types
        found = known or resolved(name, revision, kind, here=True)
        reason = one_line(error, 120)
        say(f"{name}: the hub does not say which commit {revision or 'main'} is now ({reason}); "
            f"{f'still taken for {found}' if found else 'none is known'}")  # fmt: skip
        return found


def resolved(name: str, revision: str | None, kind: Kind = "model", here: bool = False) -> str | None:
    """The commit whose files would be loaded now, from the hub or its cache; None where it is not known.

    here: the hub is not asked.
    """
    from huggingface_hub import HfApi, constants

    here = here or constants.HF_HUB_OFFLINE
    try:
        found = HfApi().resolve_revision(name, repo_type=kind, revision=revision, local_files_only=here)
    except Exception:  # as above; who loads the model says what is wrong
        return None
    return getattr(found, "resolved", None)


def cached(name: str, revision: str | None, file: str) -> Path | None:
    """A model's file in the hub's cache on this machine; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except ValueError:  # a name that no hub has
        return None
    return Path(found) if isinstance(found, str) else None
