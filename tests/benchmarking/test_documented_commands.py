"""The commands that docs/evaluation.md gives for the paper's tables."""

import re
import shlex

import pytest

from hq_sam_hf.benchmarking.benchmarks import BENCHMARKS
from hq_sam_hf.cli.benchmark import NAMES
from hq_sam_hf.cli.main import build_parser
from support.paths import ROOT

PAGE = (ROOT / "docs" / "evaluation.md").read_text()
COMMANDS = re.findall(r"^ ?\d+  hq-sam (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_tables_is_understood(command):
    arguments = build_parser().parse_args(shlex.split(command))
    assert arguments.model == "MODEL"
    assert str(arguments.output) == "run"
    assert arguments.prompts or arguments.detections or arguments.detector


def test_every_benchmark_has_a_command_a_download_and_its_hours():
    named = {found for command in COMMANDS for found in re.findall(r"--benchmark (\S+)", command)}
    assert named == set(NAMES) == set(BENCHMARKS)
    for heading in ("Downloads", "Hours"):
        section = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
        rows = {re.split(r"[ |(]", row)[0] for row in re.findall(r"^\| (\S.*)$", section, re.MULTILINE)}
        assert set(NAMES) <= rows


def test_the_commands_are_numbered_as_the_table_of_tables_names_them():
    table = PAGE.split("### The rows of the paper's tables\n")[1].split("```")[0]
    assert re.findall(r"\| (\d+) \|", table) == [str(i) for i in range(1, len(COMMANDS) + 1)]
