"""A finished student's folder, or what `kdcore export` made of it, to a model repository of the Hugging Face hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from kdcore.console import count_of
from kdcore.distil.card import Scores
from kdcore.distil.finished import Finished
from kdcore.distil.folder import copy_model
from kdcore.errors import UserError, one_line

ANY: Any = HfHubHTTPError.__mro__[1]  # every error of the HTTP library that the hub's client uses, whichever that is
REFUSED = {  # status of the hub -> what to do
    401: ": it does not know the token; run `hf auth login` again, or set HF_TOKEN",
    403: ": the token may not write for {owner}; take one that may (`hf auth login`, HF_TOKEN), or another owner",
}


def push(model: Finished, repository: str, private: bool, revision: str | None, scores: Scores | None) -> str:
    """Upload the folder in one commit; returns the commit's address.

    repository: owner/name, made where it is not there (private: for its owner only); revision: a branch, made likewise,
    else main; scores: for the card of a student, an exported folder has its own already. Raises UserError where the
    hub can't be reached, or refuses.
    """
    with _explained(repository):
        if "/" not in repository:
            raise HFValidationError(f"must be OWNER/NAME, found {repository!r}")
        validate_repo_id(repository)
        if get_token() is None:
            raise UserError(repository, "the hub needs a token that may write: run `hf auth login`, or set HF_TOKEN")
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = model.folder
            if not (folder / "export.json").is_file():
                folder = Path(scratch)
                copy_model(model.folder, folder, scores)
            depth, facts = count_of(model.layers, "layer"), model.facts
            said = f"{facts['task']}: {depth} by {facts['method']}, distilled by kdcore"
            done = hub.upload_folder(repo_id=repository, folder_path=folder, revision=revision, commit_message=said)
    return done.commit_url


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """What the hub's client raises, as one message for the user."""
    try:
        yield
    except HFValidationError as error:
        raise UserError("REPO", one_line(error)) from error
    except OfflineModeIsEnabled as error:
        raise UserError(repository, "the hub is switched off: unset HF_HUB_OFFLINE") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = (error.server_message or error.response.reason_phrase).rstrip(".")
        advice = REFUSED.get(status, "").format(owner=repository.partition("/")[0])
        raise UserError(repository, f"the hub answers {status} {reason}{advice}") from error
    except ANY as error:
        raise UserError(repository, f"the hub can't be reached ({error}); nothing is changed there") from error
    except (RuntimeError, ConnectionError) as error:  # of weights: by git's large files, by xet
        reason = one_line(error.__cause__ or error)
        raise UserError(repository, f"the weights can't be uploaded ({reason}); nothing is committed") from error
