"""Files that people use to help themselves: citation, pre-commit, issue templates, release page, changelog."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import hq_sam_hf

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def load(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


CITATION = load("CITATION.cff")


def test_the_version_is_the_same_everywhere():
    assert hq_sam_hf.__version__ == PROJECT["version"] == CITATION["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]


def test_the_citation_has_the_fields_that_its_format_requires():
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert CITATION["license"] == PROJECT["license"]
    for reference in (CITATION, CITATION["preferred-citation"]):
        assert reference["authors"]
        for author in reference["authors"]:
            assert set(author) in ({"name"}, {"given-names", "family-names"})


def test_the_preferred_citation_is_the_paper():
    paper = CITATION["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert (paper["title"], paper["year"]) == ("Segment Anything in High Quality", 2023)
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert names == [
        "Lei Ke",
        "Mingqiao Ye",
        "Martin Danelljan",
        "Yifan Liu",
        "Yu-Wing Tai",
        "Chi-Keung Tang",
        "Fisher Yu",
    ]
    assert "2306.01567" in paper["url"]


def hooks() -> list[dict[str, Any]]:
    repositories = load(".pre-commit-config.yaml")["repos"]
    return [{**hook, "repo": repository["repo"]} for repository in repositories for hook in repository["hooks"]]


def test_pre_commit_runs_the_tools_of_the_dev_extra():
    assert [hook["id"] for hook in hooks()] == ["ruff-check", "ruff-format", "mypy"]
    extra = [re.match(r"[\w-]+", requirement)[0] for requirement in PROJECT["optional-dependencies"]["dev"]]
    assert "pre-commit" in extra
    for hook in hooks():
        assert (hook["repo"], hook["language"]) == ("local", "system")  # neither needs a download
        assert {"id", "name", "entry"} <= hook.keys()
        assert shlex.split(hook["entry"])[0] in extra


@pytest.mark.parametrize("hook", [hook for hook in hooks() if hook["id"] != "mypy"], ids=lambda hook: hook["id"])
def test_the_hooks_of_ruff_find_nothing_in_this_file(hook):
    command = shlex.split(hook["entry"])
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}: pip install -e '.[dev]'")
    check_only = ["--no-fix"] if "--fix" in command else ["--check"]
    result = subprocess.run([*command, *check_only, __file__], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.stem != "config"], ids=lambda path: path.stem)
def test_an_issue_template_is_a_form_that_asks_for_the_environment(path):
    form = load(path)
    assert {"name", "description", "body"} <= form.keys()
    assert all(field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown") for field in form["body"])
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    (environment,) = [field for field in form["body"] if field["id"] == "env"]
    assert "`hq-sam env`" in environment["attributes"]["description"]
    if path.stem == "bug_report":
        assert environment["validations"]["required"]


def test_there_are_templates_for_bugs_and_features():
    assert {"bug_report", "feature_request"} <= {path.stem for path in TEMPLATES}


def test_the_release_page_builds_checks_and_tags():
    page = (ROOT / "docs" / "release.md").read_text()
    for step in ("-m build", "twine check --strict", "hq-sam env", "pip install /tmp/release/dist/*.whl", "git tag"):
        assert step in page, step


def test_a_failure_in_ci_ends_it_wherever_it_stands_in_a_line():
    """`set -e` does not see a failure before `&&`, so a line of several commands has to end the script itself."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [
        line.strip() for line in lines if " && " in line and not line.lstrip().startswith(("#", "if ", "has_"))
    ]
    assert len(commands) >= 5
    for command in commands:
        assert command.endswith(("|| exit 1", "|| true")), command
