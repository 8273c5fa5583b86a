"""The README and docs tell the truth: their code runs, their commands work, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from oracle import SMALL, pair
from small_hqseg44k import small_files, write_folders

from hq_sam_hf import HQSamConfig, HQSamImageProcessor, HQSamModel, HQSamProcessor
from hq_sam_hf.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
PUBLISHED = "syscv-community/sam-hq-vit-base"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch, photo):
    """A folder with the photo, and a small model where the docs name a published one."""
    monkeypatch.chdir(tmp_path)
    photo.save("photo.jpg")
    model = pair(SMALL)[1]
    model.save_pretrained(PUBLISHED)
    HQSamProcessor.from_config(model.config).save_pretrained(PUBLISHED)
    yield tmp_path
    for cls in (HQSamConfig, HQSamModel, HQSamProcessor, HQSamImageProcessor):
        cls._auto_class = None


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run_in_order(page, workplace):
    namespace: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


WRITTEN = {
    "README": {"mask_1.png", "mask_2.png", "overlay.jpg", "cup.png", "cup.json"},
    "evaluation": {"report"},
    "checkpoints": {"sam_hq_vit_b.pth", "my-model", "my-samhq-model", "half-model"},
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in WRITTEN], ids=lambda page: page.stem)
def test_commands_run_in_order(page, workplace):
    write_folders(workplace / "hqseg44k", small_files())
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("hq-sam ")]
    assert commands
    for command in commands:
        assert main(command[1:]) == 0
    assert WRITTEN[page.stem] <= {path.name for path in workplace.iterdir()}


def test_links_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_ci_runs_the_commands_of_the_readme():
    try_it, *_, tests = blocks(ROOT / "README.md", "bash")
    script = (ROOT / ".ci" / "run").read_text()
    assert try_it.strip() in script
    assert tests.strip() in script
