"""The command `hq-sam` as a whole: help, version, where it prints, colour, and how the output is named."""

import argparse
import io
import logging
import os
import re
import subprocess
import sys
import time

import pytest

import hq_sam_hf
from hq_sam_hf.cli import convert as convert_module
from hq_sam_hf.cli import main
from hq_sam_hf.cli.arguments import add_destination, destination
from hq_sam_hf.cli.console import log_to_stderr, print_error, progress, uses_colour
from hq_sam_hf.cli.main import COMMANDS, build_parser
from hq_sam_hf.export import conversion
from hq_sam_hf.training import config as config_module
from hq_sam_hf.training import trainer


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of all commands, and in place of `data` those of its actions."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += parsers(child) or [child]
    return found


COMMAND_PARSERS = parsers(build_parser())


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: hq-sam")
    for command in ("segment", "generate", "label", "demo", "data", "train", "evaluate", "convert", "export", "env"):
        assert re.search(rf"^    {command} ", printed.err, re.MULTILINE), command
    assert len(COMMANDS) == 10


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"hq-sam-hf {hq_sam_hf.__version__}\n"


@pytest.mark.parametrize("parser", COMMAND_PARSERS, ids=lambda parser: parser.prog)
def test_the_help_of_each_command_shows_an_example_of_it(parser):
    examples = parser.format_help().split("example", 1)[1]
    assert f"{parser.prog} " in examples or f"{parser.prog}\n" in examples


@pytest.mark.parametrize("parser", COMMAND_PARSERS, ids=lambda parser: parser.prog)
def test_every_argument_is_explained_in_the_help(parser):
    assert [action.dest for action in parser._actions if not action.help] == []


def test_commands_that_write_name_their_output_by_the_same_option():
    writing = {parser.prog.removeprefix("hq-sam ") for parser in COMMAND_PARSERS if "--output" in parser.format_help()}
    assert writing == {
        "segment",
        "generate",
        "label",
        "evaluate",
        "train",
        "convert",
        "export",
        "data download",
        "data export",
    }
    for parser in COMMAND_PARSERS:
        for action in parser._actions:
            if "--output" in action.option_strings:
                assert action.option_strings == ["-o", "--output"]


@pytest.mark.parametrize(
    "words",
    [
        ["in.pth", "out", "--layout", "sam"],
        ["in.pth", "--layout", "sam", "out"],
        ["--layout", "sam", "in.pth", "out"],
        ["in.pth", "-o", "out", "--layout", "sam"],
        ["-o", "out", "--layout", "sam", "in.pth"],
        ["in.pth", "--layout", "sam", "--output", "out"],
    ],
    ids=" ".join,
)
def test_convert_takes_the_output_as_an_option_or_as_the_last_word(words, monkeypatch):
    calls = []
    monkeypatch.setattr(conversion, "convert", lambda *arguments, **options: calls.append((arguments, options)))
    assert main(["convert", *words]) == 0
    ((arguments, options),) = calls
    assert arguments == ("in.pth", "out")
    assert options["layout"] == "sam"
    assert options["report"] is convert_module.progress


@pytest.mark.parametrize("command", [["convert", "in.pth"], ["export"], ["data", "download"]], ids=" ".join)
def test_the_output_must_be_given_exactly_once(command, capsys):
    for words, message in (
        ([], "the output is missing; name it with -o/--output"),
        (["a", "-o", "b"], "two outputs were given, 'a' and -o 'b'; give one of them"),
        (["a", "b"], "unrecognized arguments: b"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, *words])
        assert exit_info.value.code == 2
        assert message in capsys.readouterr().err


def test_an_unknown_option_is_not_taken_for_an_output(capsys):
    parser = argparse.ArgumentParser()
    add_destination(parser, "folder")
    arguments, rest = parser.parse_known_args(["--unknown"])
    assert arguments.take_rest(arguments, rest) == ["--unknown"]
    arguments, rest = parser.parse_known_args(["a"])
    assert arguments.take_rest(arguments, rest) == []
    assert destination(arguments) == "a"


@pytest.mark.parametrize("name", ["runs/a", "1e3", "yes", "a: b"])
def test_the_output_of_train_is_the_field_output_dir(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text("model: m\ndata: d\noutput_dir: other\n")
    monkeypatch.setattr(config_module.TrainingConfig, "from_dict", lambda fields: fields)
    monkeypatch.setattr(trainer, "train", lambda fields: fields["output_dir"])
    assert main(["train", str(tmp_path / "c.yaml"), "seed=3", "-o", name, "epochs=2"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"wrote {name}\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_colour_and_none_with_no_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert uses_colour(Terminal())
    assert not uses_colour(io.StringIO())
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not uses_colour(Terminal())


def test_an_error_is_one_line_whatever_its_message(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, expected in (
        (io.StringIO(), "hq-sam: a b c\n"),
        (Terminal(), "\033[1;31mhq-sam:\033[0m a b c\n"),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        print_error("a\nb\n  c")
        assert stream.getvalue() == expected


def test_progress_is_one_line_on_standard_error_of_the_main_process_only(monkeypatch, capsys):
    progress("outside of a command")
    for rank, expected in (("0", "step 1\nwarning\n"), ("1", "warning\n")):
        monkeypatch.setenv("RANK", rank)
        with log_to_stderr():
            progress("step 1")
            logging.getLogger("hq_sam_hf.some.module").warning("warning")
            logging.getLogger("hq_sam_hf.some.module").debug("detail")
        assert capsys.readouterr() == ("", expected)
    assert logging.getLogger("hq_sam_hf").level == logging.NOTSET
    assert logging.getLogger("hq_sam_hf").handlers == []


@pytest.mark.slow
def test_a_command_ends_quietly_if_nothing_reads_its_output():
    """As in `hq-sam env | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = "import sys; from hq_sam_hf.cli import main; sys.exit(main(['env']))"
    ended = subprocess.run([sys.executable, "-c", command], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_broken_pipe_elsewhere_is_an_error(monkeypatch, capsys):
    def break_pipe(*arguments, **options):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(conversion, "convert", break_pipe)
    assert main(["convert", "a", "-o", "b"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_an_interrupted_command_exits_with_130(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert", interrupt)
    assert main(["convert", "a", "-o", "b"]) == 130
    assert capsys.readouterr().err == "hq-sam: interrupted\n"


def test_help_and_import_are_quick_and_import_nothing_heavy():
    code = "import sys, hq_sam_hf; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["datasets", "accelerate", "gradio", "onnx", "torchvision", "torch"]
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    help_result = subprocess.run([sys.executable, "-m", "hq_sam_hf.cli", "--help"], capture_output=True, text=True)
    assert help_result.returncode == 0
    assert "segment" in help_result.stdout
    assert time.monotonic() - started < 6  # 3 seconds each, where a torch import alone takes 2
