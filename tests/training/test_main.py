"""The commands `hq-sam train` and `python -m hq_sam_hf.training`."""

import pytest

from hq_sam_hf.cli import main
from hq_sam_hf.training.__main__ import main as training_main


@pytest.mark.parametrize("command", [["train"], None], ids=["hq-sam train", "python -m hq_sam_hf.training"])
def test_overrides_and_resume_may_come_in_any_order(tmp_path, monkeypatch, command, capsys):
    seen = []
    for module in ("hq_sam_hf.training", "hq_sam_hf.training.trainer", "hq_sam_hf.training.__main__"):
        monkeypatch.setattr(f"{module}.train", lambda config: seen.append(config) or tmp_path)
    (tmp_path / "run.yaml").write_text("model: base\ndata: x\noutput_dir: y\n")
    run = training_main if command is None else lambda arguments: main([*command, *arguments])
    file = str(tmp_path / "run.yaml")
    for arguments in ([file, "epochs=3", "--resume"], [file, "--resume", "epochs=3"], ["--resume", file, "epochs=3"]):
        run(arguments)
        assert (seen[-1].epochs, seen[-1].resume) == (3, True)
    with pytest.raises(SystemExit) as exit:
        run([file, "epochs=3", "--resum", "--fast"])
    assert exit.value.code == 2
    with pytest.raises(SystemExit):
        main(["convert", "a", "b", "c=3"])
    assert "unrecognized arguments: c=3" in capsys.readouterr().err


def test_an_error_of_a_launched_run_is_one_line(tmp_path):
    (tmp_path / "run.yaml").write_text("model: base\ndata: x\noutput_dir: y\nepoch: 3\n")
    with pytest.raises(SystemExit, match="hq_sam_hf.training: `epoch` is not a field .* Did you mean `epochs`"):
        training_main([str(tmp_path / "run.yaml")])
