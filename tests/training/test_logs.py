import json

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf.training.logs import RunLog


def write_log(folder, lines):
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunLog(folder)


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [[], [f"clicks-{i}" for i in range(1, 6)]])
def test_curves_fill_the_image_for_any_number_of_metrics(tmp_path, prompts):
    names = [f"{output}_{metric}" for output in ("sam", "hq", "sum") for metric in ("miou", "mbiou")]
    names += [f"{prompt}_{name}" for prompt in prompts for name in names]
    names += [f"hq_mbiou_set{i}" for i in range(12)]
    lines = [{"step": step, "loss": 1.0, "bce": 0.4, "dice": 0.6, "learning_rate": 0.1} for step in (10, 20)]
    lines += [{"step": 20, **{f"val_{name}": 50.0 for name in names}}]
    write_log(tmp_path, lines).draw_curves()
    with Image.open(tmp_path / "curves.png") as image:
        dark = np.asarray(image.convert("L")) < 60
    borders = dark.sum(axis=0) > 0.5 * dark.shape[0]  # the left and right borders of the panels
    assert borders.any()
    panels = 3 + len(prompts)  # losses, the first prompt, its sets, and the other prompts
    assert dark.shape[1] / dark.shape[0] == pytest.approx(min(panels, 3) * 6.0 / (-(-panels // 3) * 4.2), rel=0.02)


def test_an_incomplete_line_and_later_steps_are_dropped(tmp_path):
    log = write_log(tmp_path, [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.4}])
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    log.drop_after(2)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2]


def test_without_a_log_no_curves_are_drawn(tmp_path):
    RunLog(tmp_path).draw_curves()
    assert not (tmp_path / "curves.png").exists()
