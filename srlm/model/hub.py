"""What the Hugging Face hub, or its local cache where it cannot be reached, says of a model's id."""

from pathlib import Path


def commit_of(model: str, revision: str | None) -> str | None:
    """The commit that a hub's id and revision (default: the main branch) stand for now; offline, the cached one.

    None for a local folder, and where neither hub nor cache knows the model.
    """
    from huggingface_hub import HfApi

    if Path(model).is_dir():
        return None
    try:
        return HfApi().model_info(model, revision=revision).sha
    except Exception:  # offline in one of many ways
        cached = _cached(model, revision)
        return cached.name if cached else None


def files_of(model: str, revision: str | None) -> set[str]:
    """Names of the model's files on the hub, or in the local cache; empty where neither knows it."""
    from huggingface_hub import HfApi

    try:
        return set(HfApi().list_repo_files(model, revision=revision))
    except Exception:  # as above
        cached = _cached(model, revision)
        return {path.name for path in cached.iterdir()} if cached else set()


def _cached(model: str, revision: str | None) -> Path | None:
    """The folder of the model's cached files, which is named by their commit."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except Exception:  # not there, or no id at all
        return None
