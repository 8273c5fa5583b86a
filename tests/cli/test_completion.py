"""Shell completion: what argcomplete offers for a command line, by the protocol that it uses with the shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hq_sam_hf.cli

argcomplete = pytest.importorskip("argcomplete", reason='needs argcomplete: pip install "hq-sam-hf[completion]"')


@pytest.fixture
def complete(tmp_path):
    """Ask the command to complete a line, as a shell does. Returns the candidates."""
    (tmp_path / "image.jpg").touch()
    (tmp_path / "images").mkdir()
    code = "import sys; from hq_sam_hf.cli import main; main([])"
    separator = "\013"

    def run(line: str) -> set[str]:
        candidates = tmp_path / "candidates"
        environment = {
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": separator,
            "_ARGCOMPLETE_STDOUT_FILENAME": str(candidates),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        }
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
        return {word.strip() for word in candidates.read_text().split(separator) if word}

    return run


def test_commands_actions_and_options_are_completed(complete):
    assert complete("hq-sam ge") == {"generate"}
    assert {"segment", "train", "env", "--version"} <= complete("hq-sam ")
    assert complete("hq-sam data c") == {"check"}
    assert complete("hq-sam segment --mult") == {"--multimask-output"}


def test_choices_and_files_are_completed(complete):
    assert complete("hq-sam segment image.jpg --dtype b") == {"bfloat16"}
    assert complete("hq-sam convert image.jpg --layout ") == {"hq_sam", "transformers", "sam", "original"}
    assert complete("hq-sam segment im") == {"image.jpg", "images/"}
    assert complete("hq-sam generate images -o im") == {"image.jpg", "images/"}


def test_without_argcomplete_in_this_environment_completion_is_silent(monkeypatch, capfd):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    with pytest.raises(SystemExit) as exit_info:
        hq_sam_hf.cli.main([])
    assert exit_info.value.code == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_the_mark_that_argcomplete_looks_for_is_at_the_start_of_the_file(name):
    """In `__init__.py` for the command `hq-sam`, whose entry point names that module; else for `python -m`."""
    file = Path(hq_sam_hf.cli.__file__).parent / name
    assert re.search("PYTHON_ARGCOMPLETE_OK", file.read_text()[:1024])
