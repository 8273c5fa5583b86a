"""Packages import only what they say they may, in one direction; files, functions and signatures stay small."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from transformers import PreTrainedConfig

import hq_sam_hf
from support.paths import ROOT

PACKAGE = Path(hq_sam_hf.__file__).parent
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
NO_OTHER = "no other package"

MOST_LINES_OF_A_MODULE = 350
MOST_LINES_OF_A_FUNCTION = 60  # without its docstring
MOST_PARAMETERS = 12

# These mirror the originals' options: `Sam.forward` with its prompts, `SamAutomaticMaskGenerator` and transformers'
# `PreTrainedModel` and `ProcessorMixin`.
ORIGINALS_OPTIONS = {"HQSamModel.forward", "HQSam2Model.forward", "HQSamMaskGenerator.__init__"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def allowed_imports(folder: str) -> set[str]:
    """The packages named in the line `May import: ...` of a package's docstring."""
    docstring = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or ""
    (line,) = re.findall(r"^May import: (.*)\.$", docstring, re.MULTILINE)
    return set() if line == NO_OTHER else set(line.split(", "))


def imported_packages(path: Path) -> set[str]:
    """The other packages that a module imports, inside functions too."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hq_sam_hf."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_imports_only_what_its_docstring_allows(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        forbidden = imported_packages(path) - allowed_imports(folder) - {folder}
        assert not forbidden, f"{name_of(path)} imports {sorted(forbidden)}"


def test_the_page_on_architecture_has_the_rules_of_the_docstrings():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| .* \| ?(.*) \|$", page, re.MULTILINE)
    assert {folder: set(filter(None, imports.split(", "))) for folder, imports in rows} == {
        folder: allowed_imports(folder) for folder in FOLDERS
    }


def test_the_allowed_imports_have_one_direction():
    """Take away packages that import nothing of the rest, until none is left."""
    rest = {folder: allowed_imports(folder) for folder in FOLDERS}
    while rest:
        lowest = {folder for folder, imports in rest.items() if not imports & rest.keys()}
        assert lowest, f"these packages may import each other in a circle: {sorted(rest)}"
        rest = {folder: imports for folder, imports in rest.items() if folder not in lowest}


def test_an_allowed_import_is_used():
    for folder in FOLDERS:
        used = set().union(*(imported_packages(path) for path in (PACKAGE / folder).rglob("*.py")))
        assert allowed_imports(folder) <= used, f"{folder} does not import {sorted(allowed_imports(folder) - used)}"


def test_the_model_is_one_flat_folder_with_single_dot_imports():
    """transformers collects code for the Hub from the relative imports, all from one folder."""
    assert not [path for path in (PACKAGE / "model").iterdir() if path.is_dir() and path.name != "__pycache__"]
    for path in (PACKAGE / "model").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1, name_of(path)
                assert node.module, f"{name_of(path)} has `from . import`"
                assert "." not in node.module, name_of(path)


def test_models_and_processors_import_no_training_library():
    for path in (PACKAGE / "model").glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)]
        names = {alias.name for node in nodes for alias in node.names}
        assert not names & {"datasets", "accelerate", "torchvision"}, name_of(path)


def is_table(path: Path) -> bool:
    """A module that holds data and no function."""
    return not any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short(path):
    assert is_table(path) or len(path.read_text().splitlines()) <= MOST_LINES_OF_A_MODULE


def lines_of(function: ast.FunctionDef) -> int:
    """The lines of a function without those of its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path):
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    long = {function.name: lines_of(function) for function in functions}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def public_signatures() -> dict[str, inspect.Signature]:
    """Those of public functions and of methods of public classes. A configuration has fields, not options."""
    found = {}
    for name in hq_sam_hf.__all__:
        value = getattr(hq_sam_hf, name)
        if inspect.isclass(value) and issubclass(value, PreTrainedConfig):
            continue
        if inspect.isclass(value):
            own = {key: member for key, member in vars(value).items() if not key.startswith("_") or key == "__init__"}
            members = {f"{name}.{key}": inspect.unwrap(getattr(value, key)) for key in own}
        else:
            members = {name: value}
        found |= {key: inspect.signature(member) for key, member in members.items() if inspect.isroutine(member)}
    return found


def test_public_signatures_are_short_unless_they_mirror_the_originals_options():
    long = {name for name, signature in public_signatures().items() if len(signature.parameters) > MOST_PARAMETERS + 1}
    assert long == ORIGINALS_OPTIONS  # 1 more: self
