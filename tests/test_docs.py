"""The README and docs tell the truth: their code runs, their commands work, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import datasets
import pytest

from hq_sam_hf import HQSamConfig, HQSamImageProcessor, HQSamModel, HQSamProcessor
from hq_sam_hf.cli import main
from support.oracle import SMALL, pair, save_folder
from support.small_detectors import save_grounding_dino
from support.small_hqseg44k import small_files, write_folders

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
PUBLISHED = "syscv-community/sam-hq-vit-base"
DETECTOR = "IDEA-Research/grounding-dino-tiny"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch, photo, page):
    """A folder with the photo, the files that a page shows, and small models where the docs name published ones."""
    monkeypatch.chdir(tmp_path)
    photo.save("photo.jpg")
    (tmp_path / "photos").mkdir()
    photo.save("photos/photo.jpg")
    save_folder(pair(SMALL)[1], PUBLISHED)
    if page.stem == "text_prompts":
        save_grounding_dino(DETECTOR)
    for table in blocks(page, "csv"):
        (tmp_path / "objects.csv").write_text(table)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield tmp_path
    for cls in (HQSamConfig, HQSamModel, HQSamProcessor, HQSamImageProcessor):
        cls._auto_class = None


def parameters(pages):
    """Those that take long, because they trace a model, are in the slow part."""
    return [pytest.param(page, marks=pytest.mark.slow if page.stem == "onnx" else (), id=page.stem) for page in pages]


@pytest.mark.parametrize("page", parameters(page for page in PAGES if blocks(page, "python")))
def test_python_blocks_run_in_order(page, workplace):
    if page.stem in ("automatic_masks", "onnx"):  # their last blocks read what their commands write
        run_commands(page)
    namespace: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


WRITTEN = {
    "README": {"mask_1.png", "mask_2.png", "overlay.jpg", "cup.png", "cup.json"},
    "evaluation": {"report"},
    "checkpoints": {"sam_hq_vit_b.pth", "my-model", "my-samhq-model", "half-model", "plain-sam"},
    "predictor": {"masks/overlays/photo.jpg.jpg", "masks/coco.json"},
    "automatic_masks": {"masks/coco.json", "masks/overlays/photo.jpg.jpg", "masks/label_maps/photo.jpg.png"},
    "text_prompts": {"found.json", "found.jpg", "found/coco.json", "found/overlays/photo.jpg.jpg"},
}


def run_commands(page: Path) -> int:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("hq-sam ")]
    for command in commands:
        assert main(command[1:]) == 0
    return len(commands)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in WRITTEN], ids=lambda page: page.stem)
def test_commands_run_in_order(page, workplace):
    write_folders(workplace / "hqseg44k", small_files())
    assert run_commands(page) >= 1
    written = {path.relative_to(workplace).as_posix() for path in workplace.rglob("*")}
    assert WRITTEN[page.stem] <= written


def test_links_lead_to_files():
    for page in PAGES:
        text = re.sub(r"`[^`\n]*`", "", page.read_text())  # code may look like a link
        for target in re.findall(r"\]\(([^)#]+)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_the_commands_of_the_readme():
    try_it, *_, tests, tests_of_the_demo = blocks(ROOT / "README.md", "bash")
    script = (ROOT / ".ci" / "run").read_text()
    for command in (try_it, tests, tests_of_the_demo):
        assert command.strip() in script
