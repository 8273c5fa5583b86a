"""Checkpoints from one layout to another: the work behind `hq-sam convert`."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download, split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..model.checkpoint_format import ModelWeights, derive_config, is_hq_key, read_checkpoint
from ..model.configuration_hq_sam import HQSamConfig, HQSamTinyViTConfig
from ..model.files import check_parent, whole_folder, write_atomically
from ..model.image_processing_hq_sam import IMAGE_MEAN, IMAGE_STD
from ..model.key_mapping import POSITIONAL_MATRIX, keys_to_original
from ..model.modeling_hq_sam import HQSamModel
from ..model.processing_hq_sam import HQSamProcessor
from ..model.weight_checks import check_weights
from ..model.weights import WEIGHT_SUFFIXES, find_file, read_weights
from .model_cards import card_head
from .reference import build_original, import_original, run_original

LAYOUTS = ("hq_sam", "transformers", "sam", "original")

# What transformers calls configuration, model, image processor and processor of the layouts that are its own.
THEIR_CLASSES = {
    "transformers": ("SamHQConfig", "SamHQModel", "SamImageProcessor", "SamHQProcessor"),
    "sam": ("SamConfig", "SamModel", "SamImageProcessor", "SamProcessor"),
}

# Largest difference of mask logits, of about 1, to the original that rounding in float32 explains.
VERIFY_TOLERANCE = 1e-4

# sha256 of the published files, by the Hub's own records.
PUBLISHED = {
    "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57": "sam_hq_vit_b.pth",
    "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343": "sam_hq_vit_l.pth",
    "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35": "sam_hq_vit_h.pth",
    "0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196": "sam_hq_vit_tiny.pth",
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912": "sam_vit_b_01ec64.pth",
    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622": "sam_vit_l_0b3195.pth",
    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e": "sam_vit_h_4b8939.pth",
}

CARD = """\
{head}
# HQ-SAM

{what}. HQ-SAM ("Segment Anything in High Quality", [arXiv 2306.01567](https://arxiv.org/abs/2306.01567)) adds one
learned output token and a fusion of early and final features to a frozen SAM, for masks with fine boundaries.

```python
from hq_sam_hf import HQSamModel, HQSamProcessor

model = HQSamModel.from_pretrained("{name}")
processor = HQSamProcessor.from_pretrained("{name}")
inputs = processor("photo.jpg", input_boxes=[[[165, 15, 415, 310]]])
masks = processor.post_process_masks(model(**inputs, multimask_output=False), inputs)
```

Converted from `{source}`{published}.
"""

SAM_CARD = """\
{head}
# SAM

The plain SAM inside an {what}, without its HQ head, in the layout of transformers' SamModel.

```python
from hq_sam_hf import HQSamModel

model = HQSamModel.from_sam_pretrained("{name}")  # with a fresh, untrained HQ head
```

Taken from `{source}`{published}.
"""


@dataclass
class Source:
    """A checkpoint that was read.

    path: the file or folder it was read from.
    published: the name of the published file that it equals byte for byte, if any.
    """

    checkpoint: ModelWeights
    path: Path
    published: str | None

    def config(self) -> HQSamConfig:
        """The configuration beside the weights, or what their shapes tell."""
        if (self.path / "config.json").is_file():
            return HQSamConfig.from_pretrained(self.path)
        return derive_config(self.checkpoint)


def convert(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    layout: str | None = None,
    base: str | os.PathLike | None = None,
    dtype: torch.dtype | str | None = None,
    max_shard_size: str = "5GB",
    overwrite: bool = False,
    verify: bool = False,
    push_to: str | None = None,
    revision: str | None = None,
    report: Callable[[str], object] = print,
) -> HQSamConfig:
    """Convert a checkpoint of any layout, and give its configuration.

    source: a file, a folder, a Hub repository, or a file of one as "organisation/name/file.pth".
    destination: a folder, or a .pth file for the original layout. It is whole or not there: everything is written
        beside it first and then renamed.
    layout: "hq_sam" (this package), "transformers" (SamHQModel), "sam" (transformers' SamModel: the plain SAM inside,
        without the HQ head) or "original"; by default "original" for a .pth or .pt destination and "hq_sam" for a
        folder.
    base: for a mask decoder or HQ head alone, the SAM or HQ-SAM that supplies the rest.
    dtype: cast the weights; the positional matrix stays float32. By default they are kept as they are.
    verify: compare masks of the source in the original implementation with those of the result.
    push_to: Hub repository to upload the folder to.
    revision: branch, tag or commit of the source on the Hub.
    report: told in a line each what was recognised and what was done.

    Raises ValueError for anything that is no HQ-SAM or cannot become the layout asked for, before anything is written.
    """
    target = Path(destination)
    layout = layout or ("original" if target.suffix in (".pth", ".pt") else "hq_sam")
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    _check_destination(target, layout, overwrite, push_to)
    if verify:
        if layout == "sam":
            raise ValueError("Verifying compares HQ masks, which the layout sam does not have.")
        _require_original()
    read = _read(source, revision, report)
    config, checkpoint = _whole_model(read, None if base is None else _read(base, None, report))
    weights = {name: _cast(name, tensor, dtype) for name, tensor in checkpoint.weights.items()}
    if layout == "original":
        _write_original(target, weights)
    else:
        if layout in THEIR_CLASSES and isinstance(config.vision_config, HQSamTinyViTConfig):
            theirs = THEIR_CLASSES[layout][1]
            raise ValueError(f"transformers' {theirs} has no TinyViT encoder. Choose the layout hq_sam or original.")
        config.dtype = weights["mask_decoder.hq_token.weight"].dtype
        if layout == "sam":
            weights = {name: tensor for name, tensor in weights.items() if not is_hq_key(name)}
        with whole_folder(target) as folder:
            _write_weights(folder, weights, max_shard_size)
            if layout in THEIR_CLASSES:
                _write_transformers_config(folder, config, *THEIR_CLASSES[layout])
            else:
                _write_own_config(folder, config)
            (folder / "README.md").write_text(_card(source, target, checkpoint, read.published, layout))
    report(f"wrote {target} ({layout} layout)")
    if verify:
        report(f"verified against segment-anything-hq: {_verify(read, checkpoint, target)}")
    if push_to is not None:
        report(f"pushed to {push_folder(target, push_to)}")
    return config


def _check_destination(target: Path, layout: str, overwrite: bool, push_to: str | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"The layout must be one of {', '.join(LAYOUTS)}, got {layout!r}.")
    if layout == "original" and target.suffix not in (".pth", ".pt"):
        raise ValueError(f"The original layout is a single file; name it .pth, got {str(target)!r}.")
    if layout != "original" and target.suffix in WEIGHT_SUFFIXES:
        raise ValueError(f"The {layout} layout is a folder, got the file name {str(target)!r}.")
    if layout == "original" and push_to is not None:
        raise ValueError("Only a folder can be pushed to the Hub; choose the layout hq_sam or transformers.")
    check_parent(target)
    if target.is_dir() if layout == "original" else target.is_file():
        raise ValueError(f"Cannot write {str(target)!r}: there is a {'folder' if target.is_dir() else 'file'}.")
    taken = target.is_file() or (target.is_dir() and any(target.iterdir()))
    if taken and not overwrite:
        raise ValueError(f"{str(target)!r} exists already. Choose another destination or pass --overwrite.")


def _read(source: str | os.PathLike, revision: str | None, report: Callable[[str], object]) -> Source:
    """Read a source and say what it is."""
    path = find_file(source, revision)
    if path is None:
        path = Path(source) if os.path.isdir(source) else _download(str(source), revision)
    published = PUBLISHED.get(_sha256(path)) if path.is_file() else None
    checkpoint = read_checkpoint(path)
    report(f"recognised {source}: {checkpoint.describe()}")
    if published:
        report(f"it is the published {published} (sha256 agrees)")
    elif path.name in PUBLISHED.values():
        report(f"NOTE: a file named {path.name} is published, but this one has another sha256")
    return Source(checkpoint, path, published)


def _download(repository: str, revision: str | None) -> Path:
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise ValueError(f"{repository!r} is neither a file, a folder nor a Hub repository.")
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


def _whole_model(source: Source, base: Source | None) -> tuple[HQSamConfig, ModelWeights]:
    """The checkpoint, completed by its base where it is a part, and its configuration. Raises ValueError otherwise."""
    checkpoint, whole = source.checkpoint, source
    what = f"{checkpoint.source!r} is a {checkpoint.describe()}"
    if base is not None:
        if base.checkpoint.part != "model":
            raise ValueError(f"The base must be a whole SAM or HQ-SAM, got a {base.checkpoint.describe()}.")
        if checkpoint.part == "model":
            raise ValueError(f"{what}, a whole model that takes no base.")
        checkpoint, whole = _complete(checkpoint, base.checkpoint), base
    if checkpoint.part != "model":
        raise ValueError(f"{what}. Name the SAM that it was trained on with --base to get a whole model.")
    if not checkpoint.has_hq:
        raise ValueError(
            f"{what}, and there is no HQ head to convert. Start a fresh head on it with "
            "HQSamModel.from_sam_pretrained, or name its HQ-SAM checkpoint."
        )
    config = whole.config()
    with torch.device("meta"):
        check_weights(checkpoint, HQSamModel(config))
    return config, checkpoint


def _complete(part: ModelWeights, base: ModelWeights) -> ModelWeights:
    """Put a mask decoder or HQ head on the model it belongs to."""
    weights = {name: tensor for name, tensor in base.weights.items() if part.part == "head" or not is_hq_key(name)}
    return ModelWeights(part.source, part.layout, "model", part.has_hq or base.has_hq, {**weights, **part.weights})


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or name == POSITIONAL_MATRIX or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype)


def _write_weights(folder: Path, weights: dict[str, Tensor], max_shard_size: str) -> None:
    split = split_torch_state_dict_into_shards(weights, max_shard_size=max_shard_size)
    for file, names in tqdm(split.filename_to_tensors.items(), desc="writing", unit="file", disable=None):
        tensors = {name: weights[name].contiguous() for name in names}
        try:
            save_file(tensors, folder / file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"Cannot write {file!r} ({error}).") from error
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _write_own_config(folder: Path, config: HQSamConfig) -> None:
    config.architectures = ["HQSamModel"]
    config.save_pretrained(folder)
    HQSamProcessor.from_config(config).save_pretrained(folder)


def _write_transformers_config(
    folder: Path, config: HQSamConfig, config_class: str, model_class: str, image_processor: str, processor: str
) -> None:
    import transformers

    theirs = getattr(transformers, config_class)(**config.transformers_sections(plain=config_class == "SamConfig"))
    theirs.architectures = [model_class]
    theirs.dtype = config.dtype
    theirs.save_pretrained(folder)
    size, mask_size = config.vision_config.image_size, config.mask_size
    settings = {
        "image_processor_type": image_processor,
        "processor_class": processor,
        "size": {"longest_edge": size},
        "pad_size": {"height": size, "width": size},
        "mask_size": {"longest_edge": mask_size},
        "mask_pad_size": {"height": mask_size, "width": mask_size},
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))


def _write_original(target: Path, weights: dict[str, Tensor]) -> None:
    names = keys_to_original(weights)
    state = {names[name]: tensor.contiguous() for name, tensor in weights.items()}
    try:
        write_atomically(target, lambda file: torch.save(state, file))
    except RuntimeError as error:  # how torch.save reports a full disk
        raise OSError(f"Cannot write {str(target)!r} ({str(error).splitlines()[0]}).") from error


def _card(
    source: str | os.PathLike, target: Path, checkpoint: ModelWeights, published: str | None, layout: str
) -> str:
    origin = Path(source).name if os.path.exists(source) else str(source)  # a path tells of somebody's machine
    equal_to = f" ({published}, sha256 agrees)" if published else ""
    plain = layout == "sam"
    return (SAM_CARD if plain else CARD).format(
        head=card_head("sam" if plain else "hq-sam"),
        what=checkpoint.describe(),
        name=target.name,
        source=origin,
        published=equal_to,
    )


def _require_original() -> None:
    try:
        import_original()
    except ImportError as error:
        raise ValueError(
            "Verifying needs the original implementation. Install it with "
            "`pip install --no-deps segment-anything-hq==0.3`."
        ) from error


def _verify(source: Source, checkpoint: ModelWeights, converted: Path) -> str:
    """Answer a random picture by the original implementation with the source's weights, and by ours with the result's.

    Gives the largest difference in words. Raises ValueError where float32 weights do not agree.
    """
    model = HQSamModel.from_pretrained(converted)
    exact = model.dtype == torch.float32
    original = build_original(model.config)
    if source.checkpoint.part == "model" and source.checkpoint.layout == "original":
        weights = read_weights(source.path)
    else:
        names = keys_to_original(checkpoint.weights)
        weights = {names[name]: tensor for name, tensor in checkpoint.weights.items()}
    original.load_state_dict({key: tensor.float() for key, tensor in weights.items()}, strict=True)
    original.eval()  # again: TinyViT caches its attention biases when it enters evaluation mode
    vision = model.config.vision_config
    size, generator = vision.image_size, torch.Generator().manual_seed(0)
    pixel_values = torch.randn(1, vision.num_channels, size, size, generator=generator)
    box = torch.tensor([[0.2, 0.3, 0.7, 0.8]]) * size
    with torch.inference_mode():
        ours = model.float()(pixel_values, input_boxes=box[None], multimask_output=False).pred_masks[0]
    theirs, _ = run_original(original, pixel_values, boxes=box)
    difference = (ours - theirs).abs().max().item()
    if exact and not difference <= VERIFY_TOLERANCE * max(1.0, theirs.abs().max().item()):
        raise ValueError(
            f"The masks of {str(converted)!r} differ from the original's by {difference:.1e}, more than rounding. "
            "Do not use it, and please report what the source was."
        )
    return f"mask logits up to {theirs.abs().max().item():.1f} differ by at most {difference:.1e}"


def push_folder(folder: Path, repository: str) -> str:
    """Upload a model folder to the Hub, which makes the repository if need be, and give the repository's address."""
    api = HfApi()
    api.create_repo(repository, exist_ok=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload HQ-SAM").repo_url)


__all__ = ["LAYOUTS", "PUBLISHED", "Source", "convert", "push_folder"]
