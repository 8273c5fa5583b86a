"""Make transformers' auto classes know "hq_sam" without importing transformers, which takes seconds, too early.

The configuration, the processors and the pipeline are registered as soon as transformers' own registries are there.
The model follows when the first configuration is made or one of our classes is used, before `AutoModel` needs it.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def register_with_transformers() -> None:
    """Register now what transformers has already imported a registry for, and the rest when it does."""
    pending = {}
    for module, register in _REGISTRIES.items():
        if module in sys.modules:
            register()
        else:
            pending[module] = register
    if pending:
        sys.meta_path.insert(0, _AfterImport(pending))


_started: set[str] = set()


def _once(register: Callable[[], None]) -> Callable[[], None]:
    """Run a function at most once, also when its own imports call it again while it runs."""

    @functools.wraps(register)
    def guarded() -> None:
        if register.__name__ not in _started:
            _started.add(register.__name__)
            register()

    return guarded


@_once
def register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .model.configuration_hq_sam import HQSamConfig

    AutoConfig.register("hq_sam", HQSamConfig)
    HQSamConfig.before_first_use = staticmethod(register_classes)


@_once
def register_model() -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForMaskGeneration

    from .model.modeling_hq_sam import HQSamConfig, HQSamModel

    AutoModel.register(HQSamConfig, HQSamModel)
    AutoModelForMaskGeneration.register(HQSamConfig, HQSamModel)


@_once
def register_image_processor() -> None:
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    from .model.configuration_hq_sam import HQSamConfig
    from .model.image_processing_hq_sam import HQSamImageProcessor

    AutoImageProcessor.register(HQSamConfig, slow_image_processor_class=HQSamImageProcessor)


@_once
def register_processor() -> None:
    from transformers.models.auto.processing_auto import AutoProcessor

    from .model.processing_hq_sam import HQSamConfig, HQSamProcessor

    AutoProcessor.register(HQSamConfig, HQSamProcessor)


@_once
def register_pipeline() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    from .inference.pipeline import HQSamMaskGenerationPipeline

    # Not `register_pipeline`, which would forget the default model and warn. Other models get the stock pipeline.
    PIPELINE_REGISTRY.supported_tasks["mask-generation"]["impl"] = HQSamMaskGenerationPipeline


def register_classes() -> None:
    for register in (register_config, register_model, register_image_processor, register_processor):
        register()


_REGISTRIES: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_config,
    "transformers.models.auto.image_processing_auto": register_image_processor,
    "transformers.models.auto.processing_auto": register_processor,
    "transformers.pipelines": register_pipeline,
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function right after a module of a given name has been imported for the first time."""

    def __init__(self, pending: dict[str, Callable[[], None]]) -> None:
        self.pending = pending

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        callback = self.pending.pop(fullname, None)
        if callback is None:
            return None
        if not self.pending:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)  # this finder now passes it on to the others
        if spec is not None and spec.loader is not None:
            spec.loader = _CallingLoader(spec.loader, callback)
        return spec


class _CallingLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, callback: Callable[[], None]) -> None:
        self.loader = loader
        self.callback = callback

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.callback()


__all__ = ["register_classes", "register_config", "register_with_transformers"]
