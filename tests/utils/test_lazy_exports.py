"""Packages export their public names, and import the modules of these names only when they are used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import hq_sam_hf
from hq_sam_hf.utils.lazy_exports import lazy_exports

PACKAGE = Path(hq_sam_hf.__file__).parent
EXPORTING = [
    *("", "benchmarking", "data", "demo", "evaluation", "export", "inference", "labelling", "masks", "training"),
]
NEEDS_EXTRA = {"demo": "gradio"}


def init_file(folder: str) -> Path:
    return PACKAGE / folder / "__init__.py"


def declared_for_type_checkers(folder: str) -> dict[str, str]:
    """The module of each name that the block `if TYPE_CHECKING` imports."""
    (block,) = [node for node in ast.parse(init_file(folder).read_text()).body if isinstance(node, ast.If)]
    return {alias.name: node.module for node in block.body for alias in node.names}


def exported(folder: str) -> dict[str, str]:
    """The module of each name in the call of `lazy_exports`."""
    nodes = ast.walk(ast.parse(init_file(folder).read_text()))
    (call,) = [node for node in nodes if isinstance(node, ast.Call) and node.func.id == "lazy_exports"]
    return {name: module for module, names in ast.literal_eval(call.args[1]).items() for name in names}


@pytest.mark.parametrize("folder", EXPORTING)
def test_the_exports_are_the_names_in_all_and_those_that_type_checkers_see(folder):
    package = importlib.import_module(f"hq_sam_hf.{folder}".rstrip("."))
    assert exported(folder) == declared_for_type_checkers(folder)
    assert sorted(package.__all__) == sorted(exported(folder))
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("folder", EXPORTING)
def test_every_exported_name_exists(folder):
    package = importlib.import_module(f"hq_sam_hf.{folder}".rstrip("."))
    if folder in NEEDS_EXTRA:
        pytest.importorskip(NEEDS_EXTRA[folder])
    for name, module in exported(folder).items():
        assert getattr(package, name) is getattr(importlib.import_module(f"{package.__name__}.{module}"), name)


@pytest.mark.parametrize("folder", EXPORTING)
def test_no_exported_name_is_that_of_a_module(folder):
    modules = {path.stem for path in (PACKAGE / folder).iterdir()}
    assert not modules & exported(folder).keys()


def test_importing_the_packages_imports_no_library():
    imports = ", ".join(f"hq_sam_hf.{folder}".rstrip(".") for folder in EXPORTING)
    code = f"import {imports}, sys; print([name for name in ('torch', 'transformers', 'PIL') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_name_raises_attribute_error():
    get_attribute, list_attributes = lazy_exports("hq_sam_hf.masks", {"rle": ["mask_to_rle"]})
    assert get_attribute("mask_to_rle").__name__ == "mask_to_rle"
    assert "mask_to_rle" in list_attributes()
    with pytest.raises(AttributeError, match="module 'hq_sam_hf.masks' has no attribute 'mask_to_rel'"):
        get_attribute("mask_to_rel")
    with pytest.raises(ImportError, match="cannot import name 'mask_to_rel'"):
        exec("from hq_sam_hf.masks import mask_to_rel")
