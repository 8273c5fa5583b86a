"""The constraints for the run on the oldest versions name the minima of pyproject.toml."""

import re
import tomllib

from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_PINNED = {"torch", "hq-sam-hf"}


def test_the_oldest_versions_are_the_minima_of_the_project():
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *extras["test"]]
    (own,) = re.findall(r"hq-sam-hf\[(.*)\]", " ".join(extras["test"]))
    requirements += [requirement for name in own.split(",") for requirement in extras[name]]
    parts = (re.match(r"([\w-]+)(?:\[[\w,]+\])?(?:>=([\d.]+))?", text) for text in requirements)
    minima = {match[1]: match[2] for match in parts}
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {name: version.removesuffix(".*") for name, version in pins.items()}
    expected = {name: minimum for name, minimum in minima.items() if name not in NOT_PINNED}
    # "8" allows 8.0.*
    assert {name: version + (".0" if "." not in version else "") for name, version in expected.items()} == pins


def test_transformers_6_is_excluded():
    assert "transformers>=5.10,<6" in PROJECT["dependencies"]
