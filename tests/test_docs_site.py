"""The documentation's site: all pages can be found, all public names are on an API page, and the build is strict."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

import hq_sam_hf
from hq_sam_hf.cli.main import build_parser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
PACKAGES = [
    "hq_sam_hf",
    *(f"hq_sam_hf.{path.parent.name}" for path in Path(hq_sam_hf.__file__).parent.glob("*/__init__.py")),
]
INTERNAL = {"hq_sam_hf.cli", "hq_sam_hf.utils"}  # the command, and helpers for the other packages


def site_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_page_is_once_in_the_navigation():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    found: list[str] = []
    entries = list(navigation)
    while entries:
        ((_, value),) = entries.pop().items()
        if isinstance(value, list):
            entries += value
        else:
            found.append(value)
    assert sorted(found) == sorted(PAGES)


def test_the_index_links_to_each_page():
    api_pages = {page for page in PAGES if page.startswith("api/")}
    assert PAGES - api_pages - links_of("index.md") == {"index.md"}
    assert {f"api/{link}" for link in links_of("api/index.md")} >= api_pages - {"api/index.md"}


def links_of(page: str) -> set[str]:
    return set(re.findall(r"\]\(([^)#]+\.md)", (DOCS / page).read_text()))


def documented() -> list[str]:
    """The names on the API pages."""
    pages = sorted((DOCS / "api").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]


def public_names() -> dict[str, object]:
    """Public names of the packages, with their values."""
    names = {}
    for package in PACKAGES:
        if package not in INTERNAL:
            module = importlib.import_module(package)
            names |= {f"{package}.{name}": getattr(module, name) for name in getattr(module, "__all__", [])}
    return names


def identity(name: str, value: object) -> object:
    """The same for a class or function under all of its public names; a constant has one name."""
    return (value.__module__, value.__qualname__) if inspect.isclass(value) or inspect.isroutine(value) else name


def test_each_public_name_is_once_on_an_api_page():
    public = public_names()
    names = documented()
    assert sorted(set(names) - public.keys()) == []
    identities = [identity(name, public[name]) for name in names]
    assert len(set(identities)) == len(identities)
    assert [name for name, value in public.items() if identity(name, value) not in set(identities)] == []


@pytest.mark.parametrize("name", documented())
def test_each_name_on_an_api_page_has_a_docstring_of_its_own(name):
    value = public_names()[name]
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__, name
        inherited = [base.__doc__ for base in getattr(value, "__mro__", ())[1:]]
        assert value.__doc__ not in inherited, name


def test_the_command_line_page_lists_each_command_and_action():
    page = (DOCS / "command_line.md").read_text()
    commands = build_parser()._subparsers._group_actions[0].choices
    for name, parser in commands.items():
        actions = [action.choices for action in parser._actions if action.nargs == "A..."]
        for action in actions[0] if actions else [""]:
            assert f"| `hq-sam {name} {action}".rstrip() + "` |" in page


def test_links_to_files_outside_docs_become_text():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="api/index.md"))
    convert = site_module("hooks").on_page_markdown
    for markdown, expected in (
        ("see [the readme](../../README.md).", "see the readme."),
        ("see [usage](../usage.md#batches)", "see [usage](../usage.md#batches)"),
        ("[gone](../../GONE.md)", "[gone](../../GONE.md)"),  # the strict build reports it
        ("[paper](https://arxiv.org)", "[paper](https://arxiv.org)"),
        ("![image](../../README.md)", "![image](../../README.md)"),
    ):
        assert convert(markdown, page=page) == expected


def test_entries_of_docstrings_become_lists():
    pytest.importorskip("griffe", reason='needs griffe: pip install "hq-sam-hf[docs]"')
    to_markdown = site_module("docstrings").to_markdown
    docstring = "Do it.\n\nsize: (height, width) of\n    the image.\na, b: two.\nReturns: nothing.\n\n    code: 1"
    expected = (
        "Do it.\n\n\n* `size`: (height, width) of\n  the image.\n* `a`, `b`: two.\n\nReturns: nothing.\n\n    code: 1"
    )
    assert to_markdown(docstring) == expected


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason='needs MkDocs: pip install "hq-sam-hf[docs]"')
    pytest.importorskip("mkdocstrings", reason='needs mkdocstrings: pip install "hq-sam-hf[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    for page in PAGES:
        name = page.removesuffix(".md").removesuffix("index")
        assert (tmp_path / "site" / name / "index.html").is_file(), page
