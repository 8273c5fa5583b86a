"""Upload model folders to the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import HfApi


def push_folder(folder: Path, repository: str) -> str:
    """Upload a model folder to a Hub repository, which is created if it does not exist. Returns its address."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload HQ-SAM").repo_url)


__all__ = ["push_folder"]
