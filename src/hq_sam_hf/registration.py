"""Register HQ-SAM with transformers, so that `AutoModel`, `AutoProcessor` and `pipeline("mask-generation")` know it.

transformers has public methods for this (`AutoConfig.register` and so on). They need transformers and torch, whose
import takes seconds, but `import hq_sam_hf` and `hq-sam --help` should take a moment. So each method is called as soon
as the program itself has imported the module of transformers that holds the registry. An import hook (an entry of
`sys.meta_path`) notices that:

    after the import of                                 is registered
    transformers.models.auto.configuration_auto         the configurations
    transformers.models.auto.image_processing_auto      the image processors
    transformers.models.auto.processing_auto            the processors
    transformers.pipelines                              the pipeline, where no public method fits (see there)
    hq_sam_hf.model.configuration_hq_sam, ..._sam2      the model, when the first configuration of its kind is created

A registration imports modules of this package. While one of them is being imported it waits, because that module is
incomplete until its import ends.
"""

import functools
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


@functools.cache
def register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .model.configuration_hq_sam import HQSamConfig
    from .model.configuration_hq_sam2 import HQSam2Config

    AutoConfig.register(HQSamConfig.model_type, HQSamConfig, exist_ok=True)
    AutoConfig.register(HQSam2Config.model_type, HQSam2Config, exist_ok=True)


@functools.cache
def register_image_processor() -> None:
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    from .model.configuration_hq_sam import HQSamConfig
    from .model.configuration_hq_sam2 import HQSam2Config
    from .model.image_processing_hq_sam import HQSamImageProcessor
    from .model.image_processing_hq_sam2 import HQSam2ImageProcessor

    AutoImageProcessor.register(HQSamConfig, image_processor_classes={"pil": HQSamImageProcessor}, exist_ok=True)
    AutoImageProcessor.register(HQSam2Config, image_processor_classes={"pil": HQSam2ImageProcessor}, exist_ok=True)


@functools.cache
def register_processor() -> None:
    from transformers.models.auto.processing_auto import AutoProcessor

    from .model.configuration_hq_sam import HQSamConfig
    from .model.configuration_hq_sam2 import HQSam2Config
    from .model.processing_hq_sam import HQSamProcessor
    from .model.processing_hq_sam2 import HQSam2Processor

    AutoProcessor.register(HQSamConfig, HQSamProcessor, exist_ok=True)
    AutoProcessor.register(HQSam2Config, HQSam2Processor, exist_ok=True)


@functools.cache
def register_pipeline() -> None:
    """Make `HQSamMaskGenerationPipeline` the class of the task. For other models it creates the stock pipeline.

    The public `PIPELINE_REGISTRY.register_pipeline` is for new tasks: for an existing one it logs a warning, and it
    makes `save_pretrained` of every pipeline of the task write our code. So only the entry for the class is replaced.
    """
    from transformers.pipelines import PIPELINE_REGISTRY

    from .inference.pipeline import HQSamMaskGenerationPipeline

    PIPELINE_REGISTRY.supported_tasks["mask-generation"]["impl"] = HQSamMaskGenerationPipeline


def _register_model(config_class: Any, model_class: Any) -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForMaskGeneration

    register_config()
    AutoModel.register(config_class, model_class, exist_ok=True)
    AutoModelForMaskGeneration.register(config_class, model_class, exist_ok=True)


@functools.cache
def register_hq_sam_model() -> None:
    from .model.configuration_hq_sam import HQSamConfig
    from .model.modeling_hq_sam import HQSamModel

    _register_model(HQSamConfig, HQSamModel)


@functools.cache
def register_hq_sam2_model() -> None:
    from .model.configuration_hq_sam2 import HQSam2Config
    from .model.modeling_hq_sam2 import HQSam2Model

    _register_model(HQSam2Config, HQSam2Model)


def register_hq_sam_model_with_first_config() -> None:
    """Register the model when a configuration is created: no auto class can need the model before.

    Right after the import of AutoModel would be too early: transformers imports that module in the middle of others
    that our model imports too.
    """
    from .model.configuration_hq_sam import HQSamConfig

    HQSamConfig.before_first_use = staticmethod(register_hq_sam_model)


def register_hq_sam2_model_with_first_config() -> None:
    """As for HQ-SAM."""
    from .model.configuration_hq_sam2 import HQSam2Config

    HQSam2Config.before_first_use = staticmethod(register_hq_sam2_model)


_AFTER_IMPORT_OF: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_config,
    "transformers.models.auto.image_processing_auto": register_image_processor,
    "transformers.models.auto.processing_auto": register_processor,
    "transformers.pipelines": register_pipeline,
    f"{__package__}.model.configuration_hq_sam": register_hq_sam_model_with_first_config,
    f"{__package__}.model.configuration_hq_sam2": register_hq_sam2_model_with_first_config,
}


def register_with_transformers() -> None:
    """Register with the registries that are imported already, and with the others when they are."""
    imported = [name for name in _AFTER_IMPORT_OF if name in sys.modules]
    sys.meta_path.insert(0, _ImportHook({name: _AFTER_IMPORT_OF[name] for name in _AFTER_IMPORT_OF.keys() - imported}))
    for name in imported:
        _AFTER_IMPORT_OF[name]()


class _ImportHook(importlib.abc.MetaPathFinder):
    """Calls functions after the import of given modules, but never while a module of this package is incomplete."""

    def __init__(self, after_import_of: dict[str, Callable[[], None]]) -> None:
        self.after_import_of = after_import_of
        self.state = _ThreadState()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Let the other finders find a module, and give it a loader that reports to this hook."""
        if fullname not in self.after_import_of and not fullname.startswith(f"{__package__}."):
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ReportingLoader(spec.loader, self)
                return spec
        return None

    def run(self, name: str, execute: Callable[[], None]) -> None:
        """Execute the code of a module, then call what waits for it unless an import of this package goes on."""
        own = name.startswith(f"{__package__}.")
        self.state.own_imports += own
        try:
            execute()
            if name in self.after_import_of:
                self.state.waiting.append(self.after_import_of.pop(name))
        finally:
            self.state.own_imports -= own
        while self.state.waiting and not self.state.own_imports:  # after a failed import they wait for the next one
            self.state.waiting.pop(0)()


class _ThreadState(threading.local):
    """For one thread: the number of own modules that are being imported, and the functions that wait for their end."""

    def __init__(self) -> None:
        self.own_imports = 0
        self.waiting: list[Callable[[], None]] = []


class _ReportingLoader(importlib.abc.Loader):
    """A module's own loader, but the execution of the module goes through the hook."""

    def __init__(self, loader: Any, hook: _ImportHook) -> None:
        self.loader = loader
        self.hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)  # such as `get_code` for `python -m`

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.hook.run(module.__name__, lambda: self.loader.exec_module(module))


__all__ = ["register_with_transformers"]
