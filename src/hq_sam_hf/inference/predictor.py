"""`HQSamPredictor`: encode an image once, then predict masks from any number of prompts."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.image_reading import ImageLike
from ..model.processing_hq_sam import HQSamProcessor
from .embeddings import AnyFeatures, fingerprint, load_embedding, save_embedding
from .loading import AnyModel, load_model, split_options
from .object_prompts import names_one_object, prepare_object_prompts

Array = np.ndarray | Tensor

# Many objects of one image are predicted in calls of this many, which bounds the memory of full-size masks.
OBJECTS_PER_CALL = 16

_PREDICTORS: "weakref.WeakSet[HQSamPredictor]" = weakref.WeakSet()


def _renew_locks() -> None:
    """After a fork: another thread of the parent may hold a lock, which nobody would release in the child."""
    for predictor in list(_PREDICTORS):
        predictor._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_locks)


@dataclass
class EncodedImage:
    """The features of one image, with a batch axis of 1, and its (height, width)."""

    features: AnyFeatures
    original_size: tuple[int, int]

    def to(self, *args: Any, **kwargs: Any) -> "EncodedImage":
        moved = {name: tensor.to(*args, **kwargs) for name, tensor in self.features.items()}
        return EncodedImage(type(self.features)(**moved), self.original_size)


class HQSamPredictor:
    """Masks of encoded images from points, boxes and masks.

    model, processor: an HQ-SAM or HQ-SAM 2, as loaded by their `from_pretrained`. The model is put into evaluation
        mode. Its weights must not change afterwards, because the predictor keeps encoded images.
    max_images: number of encoded images to keep. When it is reached, the least recently used image is dropped. With
        the published models an image takes 18 MiB in float32, and 22 MiB with HQ-SAM 2.

    Threads may share a predictor. The model runs for one thread at a time; reading images and resizing masks run in
    parallel. `predict` uses the image that it is given by name, else the image that the same thread set last, else
    the image that any thread set last.

    A predictor can be pickled and copied, for example for the workers of a DataLoader. The copy keeps no images.
    """

    def __init__(self, model: AnyModel, processor: HQSamProcessor, max_images: int = 32) -> None:
        processor.check_fit(model.config)
        if type(max_images) is not int or max_images < 1:
            raise ValueError(f"`max_images` must be a positive integer, got {max_images!r}.")
        self.model = model.eval()
        self.processor = processor
        self.max_images = max_images
        self._start_without_images()

    def _start_without_images(self) -> None:
        self._encoded: OrderedDict[str, EncodedImage] = OrderedDict()  # least recently used first
        self._lock = threading.RLock()
        self._latest: str | None = None
        self._thread = threading.local()
        self._unnamed_count = 0
        self._fingerprint: tuple[list, str] = ([], "")
        _PREDICTORS.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled or copied: the model, the processor and the options, without encoded images and locks."""
        own = ("_encoded", "_lock", "_latest", "_thread", "_unnamed_count", "_fingerprint")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start_without_images()

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> "HQSamPredictor":
        """Load model and processor and make a predictor of them.

        name: folder, Hub repository or checkpoint file; None for the small checkpoint inside the package.
        device: None for a GPU where there is one, else the CPU.
        dtype: torch.float32, torch.bfloat16 or torch.float16, or its name; None for the dtype in the configuration.
        image_size: side of the square model input in pixels; None for the size in the configuration.
        options: `max_images`, and options of `HQSamModel.from_pretrained` such as `revision` and `token`.
        """
        own, loading = split_options(cls, options)
        return cls(*load_model(name, device, dtype, image_size, **loading), **own)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def images(self) -> list[str]:
        """Names of the encoded images, the least recently used first."""
        with self._lock:
            return list(self._encoded)

    def to(self, *args: Any, **kwargs: Any) -> "HQSamPredictor":
        """Move or cast the model and the encoded images. Takes the arguments of `torch.nn.Module.to`."""
        with self._lock:
            self.model.to(*args, **kwargs)
            for name, encoded in self._encoded.items():
                self._encoded[name] = encoded.to(self.model.device, self.model.dtype)
        return self

    def set_image(self, image: ImageLike, name: str | None = None, input_data_format: str | None = None) -> str:
        """Encode an image, which the following calls of `predict` use.

        image: whatever the processor takes: a path, PIL image, array or tensor.
        name: a name for `predict(image=name)`. An image that already has this name is replaced.

        Returns the name, which is made up if None was given.
        """
        return self.set_images([image], None if name is None else [name], input_data_format=input_data_format)[0]

    def set_images(
        self,
        images: Sequence[ImageLike],
        names: Sequence[str] | None = None,
        batch_size: int = 1,
        input_data_format: str | None = None,
    ) -> list[str]:
        """Encode several images, batch_size at a time. The following calls of `predict` use the last one.

        Returns the names of the images.
        """
        if names is not None and (isinstance(names, str) or len(set(names)) != len(images)):
            raise ValueError(
                f"`names` must hold a different name for each of the {len(images)} images, got {names!r}."
            )
        if not 0 < len(images) <= self.max_images:
            raise ValueError(
                f"`images` must hold 1 to {self.max_images} images, got {len(images)}. To keep more, make the "
                "predictor with a larger `max_images`."
            )
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size!r}.")
        encoded: list[EncodedImage] = []
        for start in range(0, len(images), batch_size):
            inputs = self.processor(list(images[start : start + batch_size]), input_data_format=input_data_format)
            with self._lock, torch.no_grad():
                features = self.model.get_image_features(inputs["pixel_values"].to(self.device))
            for i, (height, width) in enumerate(inputs["original_sizes"].tolist()):
                # Copies, because a view would keep the features of the whole batch alive. The embedding is stored as
                # the decoder reads it (channels last), so that no call of `predict` has to convert it.
                own = {
                    key: tensor[i : i + 1].clone(
                        memory_format=torch.channels_last if key == "image_embeddings" else torch.preserve_format
                    )
                    for key, tensor in features.items()
                }
                encoded.append(EncodedImage(type(features)(**own), (height, width)))
        with self._lock:
            chosen = [self._new_name() for _ in images] if names is None else list(names)
            for name, entry in zip(chosen, encoded):
                self._keep(name, entry)
        return chosen

    def forget_image(self, image: str | None = None) -> None:
        """Drop an encoded image: the one of this name, by default the one that `predict` would use."""
        with self._lock:
            del self._encoded[self._name(image)]

    @torch.no_grad()
    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        mask: Any = None,
        multimask_output: bool = False,
        hq_token_only: bool = False,
        sam_only: bool = False,
        return_logits: bool = False,
        return_tensors: str = "np",
        image: str | None = None,
        output_size: tuple[int, int] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Predict the masks of one object, or of P objects together, from prompts in pixels (x, y) of the image.

        Prompts are lists, tuples, arrays or tensors:

            prompt  one object              P objects
            points  [[x, y], ...]           [[[x, y], ...], ...] with any number of points per object
            labels  [1, 0, ...]             [[1, 0, ...], ...]: 1 on the object, 0 on the background; by default 1
            boxes   [x1, y1, x2, y2]        [[x1, y1, x2, y2], ...]
            mask    (m, m) or (1, m, m)     (P, m, m) or (P, 1, m, m): float logits of an earlier call, to refine its
                                            mask; or bool, 0/1 or 0..255 masks of the size of the image

        Kinds of prompts may be combined. Without any prompt the model predicts one mask.

        multimask_output: return SAM's three candidates, the best score first. Of HQ-SAM the original returns the
            first one, of HQ-SAM 2 all of them in another order.
        hq_token_only, sam_only: the HQ mask alone, or the masks of the plain SAM; see `HQSamModel.forward`.
        return_logits: float32 logits at the output size instead of bool masks.
        return_tensors: "np" for arrays, "pt" for tensors on the model's device.
        image: name of an encoded image; by default the one that this thread set last, else the one set last.
        output_size: (height, width) of the masks, by default that of the image. A smaller size is faster.

        Lists, arrays and tensors without a number, such as [] or np.zeros((0, 4)), mean no object, P = 0. None means
        no prompt of this kind. A warning says if coordinates look normalised.

        Returns, for masks of H x W pixels: masks (M, H, W), scores (M,) and logits (M, m, m), which can be passed on
        as `mask` if M is 1. For P objects each has a first axis P. M is 3 with `multimask_output`, else 1.

        Raises ValueError for prompts that are malformed or outside of the image, and for an unknown image name.
        """
        if return_tensors not in ("np", "pt"):
            raise ValueError(f"`return_tensors` must be 'np' or 'pt', got {return_tensors!r}.")
        encoded = self.encoded_image(image)
        image_processor = self.processor.image_processor
        prompts = prepare_object_prompts(image_processor, encoded.original_size, points, labels, boxes, mask)
        options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only, "sam_only": sam_only}
        with self._lock:
            features = encoded.to(self.device).features  # the model may have been moved
            outputs = self.model(image_features=features, **prompts.to(self.device), **options)
        count = int(prompts["prompt_counts"][0]) if "prompt_counts" in prompts else 1
        logits, scores = outputs.pred_masks[0, :count].float(), outputs.iou_scores[0, :count].float()
        sizes = [output_size or encoded.original_size], [image_processor.reshaped_size(encoded.original_size)]
        masks = self.processor.post_process_masks(logits[None], *sizes, binarize=not return_logits)[0]
        if names_one_object(points, boxes, mask):
            masks, scores, logits = masks[0], scores[0], logits[0]
        if return_tensors == "pt":
            return masks, scores, logits
        return masks.cpu().numpy(), scores.cpu().numpy(), logits.cpu().numpy()

    def encoded_image(self, image: str | None = None) -> EncodedImage:
        """Features and size of an image: the one of this name, by default the one that `predict` would use."""
        with self._lock:
            name = self._name(image)
            self._encoded.move_to_end(name)
            return self._encoded[name]

    def save_embedding(self, path: str | os.PathLike, image: str | None = None) -> None:
        """Write the features of an encoded image as safetensors, for `load_embedding` in any process."""
        with self._lock:
            encoded = self.encoded_image(image)
            save_embedding(path, encoded.features, encoded.original_size, self._model_fingerprint())

    def load_embedding(self, path: str | os.PathLike, name: str | None = None, max_pixels: int | None = None) -> str:
        """Read the features of an image from a file instead of encoding it. `predict` uses this image from now on.

        max_pixels: the most pixels that the image may have; by default what `load_image` reads. The file claims a
            size, and masks of that size take memory, so raise the limit only for files that you trust.

        Returns the name of the image, which is made up if None was given. Raises ValueError for a damaged file and for
        one that a model with other weights or another input size made.
        """
        with self._lock, torch.no_grad():
            encoded = EncodedImage(*load_embedding(path, self.model, self._model_fingerprint(), max_pixels))
            encoded = encoded.to(self.device, self.model.dtype)
            encoded.features.image_projections = self.model.project_images(encoded.features)
            name = self._new_name() if name is None else name
            self._keep(name, encoded)
        return name

    def _new_name(self) -> str:
        while True:
            self._unnamed_count += 1
            name = f"image {self._unnamed_count}"
            if name not in self._encoded:
                return name

    def _keep(self, name: str, encoded: EncodedImage) -> None:
        self._encoded.pop(name, None)
        self._encoded[name] = encoded
        while len(self._encoded) > self.max_images:
            self._encoded.popitem(last=False)
        self._latest = self._thread.name = name

    def _name(self, image: str | None) -> str:
        """The name of the image to use. Raises ValueError if no such image is kept."""
        name = image if image is not None else getattr(self._thread, "name", self._latest)
        if name is None:
            raise ValueError("No image has been set. Call `set_image` first.")
        if name not in self._encoded:
            kept = ", ".join(map(repr, self._encoded)) or "none"
            raise ValueError(
                f"The image {name!r} has not been set or was dropped: the predictor keeps {self.max_images} images "
                f"(`max_images`), now {kept}. Set it again."
            )
        return name

    def _model_fingerprint(self) -> str:
        # Hashing a large model takes seconds, so the hash is kept until a tensor is replaced or changed in place.
        tensors = self.model.state_dict().values()
        state = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if self._fingerprint[0] != state:
            self._fingerprint = (state, fingerprint(self.model))
        return self._fingerprint[1]


__all__ = ["OBJECTS_PER_CALL", "EncodedImage", "HQSamPredictor"]
