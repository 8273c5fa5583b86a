"""Modules import downward only, as docs/architecture.md draws it, and the package holds no module it does not name."""

import ast
import re
from pathlib import Path

import hq_sam_hf

PACKAGE = Path(hq_sam_hf.__file__).parent
DOCS = Path(__file__).parent.parent / "docs"


def layers() -> dict[str, int]:
    """The table of docs/architecture.md: `| 2 | modeling_hq_sam ... |`."""
    rows = re.findall(r"^\| (\d+) \| ([\w, ]+) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    return {module: int(layer) for layer, modules in rows for module in modules.split(", ")}


def imported_modules(path: Path) -> set[str]:
    """The modules of the package that a module, or any file of a sub-package, imports."""
    files, level = ([path], 1) if path.is_file() else (path.glob("*.py"), 2)
    trees = [ast.parse(file.read_text()) for file in files]
    relative = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == level]
    return {(node.module or alias.name).split(".")[0] for node in relative for alias in node.names}


def test_every_module_has_a_layer_and_imports_only_lower_ones():
    layer = layers()
    modules = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    modules |= {path.parent.name: path.parent for path in PACKAGE.glob("*/__init__.py")}
    assert modules.keys() == layer.keys()
    upward = [
        (name, imported)
        for name, path in modules.items()
        for imported in imported_modules(path)
        if layer[imported] >= layer[name]
    ]
    assert upward == []


def test_models_and_processors_import_no_training_library():
    for path in PACKAGE.glob("*.py"):
        if path.stem.startswith(("modeling", "processing", "image_processing", "configuration")):
            names = {
                alias.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            assert not names & {"datasets", "accelerate", "torchvision"}
