"""Read the source of a conversion: a file, a folder or a Hub repository, identified by its keys and its sha256."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from tqdm import tqdm

from ..model.checkpoint_format import ModelWeights, derive_config, read_checkpoint
from ..model.configuration_hq_sam import HQSamConfig
from ..model.configuration_hq_sam2 import HQSam2Config
from ..model.families import config_class_of
from ..model.weights import find_file

# sha256 of the published files, as the Hub records them.
PUBLISHED = {
    "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57": "sam_hq_vit_b.pth",
    "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343": "sam_hq_vit_l.pth",
    "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35": "sam_hq_vit_h.pth",
    "0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196": "sam_hq_vit_tiny.pth",
    "03b8be4b4f282c3d7365715a033918d9ac67cbc597660ccc274448aa1c8cdb05": "sam2.1_hq_hiera_large.pt",
    "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69": "sam2.1_hiera_tiny.pt",
    "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38": "sam2.1_hiera_small.pt",
    "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5": "sam2.1_hiera_base_plus.pt",
    "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318": "sam2.1_hiera_large.pt",
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912": "sam_vit_b_01ec64.pth",
    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622": "sam_vit_l_0b3195.pth",
    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e": "sam_vit_h_4b8939.pth",
}


@dataclass
class Source:
    """A checkpoint that was read.

    path: the file or folder that it was read from.
    published: name of the published file with the same sha256, or None.
    """

    checkpoint: ModelWeights
    path: Path
    published: str | None

    def config(self) -> HQSamConfig | HQSam2Config:
        """The configuration stored beside the weights, or else derived from their shapes."""
        if (self.path / "config.json").is_file():
            return config_class_of(self.checkpoint.family).from_pretrained(self.path)
        return derive_config(self.checkpoint)


def read_source(source: str | os.PathLike, revision: str | None, report: Callable[[str], object]) -> Source:
    """Read a checkpoint and report what it is.

    source, revision: as in `convert`. report: called with each line of the report.
    """
    path = find_file(source, revision)
    if path is None:
        path = Path(source) if os.path.isdir(source) else _download(str(source), revision)
    published = PUBLISHED.get(_sha256(path)) if path.is_file() else None
    checkpoint = read_checkpoint(path)
    report(f"recognised {source}: {checkpoint.describe()}")
    if published:
        report(f"it is the published {published} (same sha256)")
    elif path.name in PUBLISHED.values():
        report(f"NOTE: there is a published file named {path.name}, but this one has another sha256")
    return Source(checkpoint, path, published)


def _download(repository: str, revision: str | None) -> Path:
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise ValueError(
            f"A source must be a file, a folder or a Hub repository, but {repository!r} is none of them. Check its "
            "name."
        )
    for weights in ("*.safetensors", "*.bin"):
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=["*.json", weights]))
        if any(folder.glob(weights)):
            break
    return folder


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc="sha256", disable=None) as bar:
        while block := file.read(1 << 22):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


__all__ = ["PUBLISHED", "Source", "read_source"]
