"""The README and docs tell the truth: their code runs, their commands work, their links lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import datasets
import pytest
from PIL import Image

from hq_sam_hf import HQSamConfig, HQSamImageProcessor, HQSamModel, HQSamProcessor
from hq_sam_hf.cli import main
from support.oracle import SMALL, pair, save_folder
from support.small_detectors import save_grounding_dino
from support.small_hqseg44k import small_files, write_folders
from support.small_sam2 import save_base

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
    if page.stem == "README":
        (tmp_path / "masks").mkdir()
        mask = Image.new("L", photo.size)
        mask.paste(255, (165, 15, 415, 310))
        mask.save("masks/photo.png")
    save_folder(pair(SMALL)[1], PUBLISHED)
    if page.stem == "hq_sam2":
        save_base("hq_sam2_large")
    if page.stem == "text_prompts":
        save_grounding_dino(DETECTOR)
    for table in blocks(page, "csv"):
        (tmp_path / "objects.csv").write_text(table)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield tmp_path
    for cls in (HQSamConfig, HQSamModel, HQSamProcessor, HQSamImageProcessor):
        if "_auto_class" in vars(cls):  # an example called `register_for_auto_class`
            del cls._auto_class


def parameters(pages):
    """Those that take long, because they trace a model, are in the slow part."""
    return [pytest.param(page, marks=pytest.mark.slow if page.stem == "onnx" else (), id=page.stem) for page in pages]


@pytest.mark.parametrize("page", parameters(page for page in PAGES if blocks(page, "python")))
def test_python_blocks_run_in_order(page, workplace):
    if page.stem in ("automatic_masks", "labelling", "onnx"):  # their last blocks read what their commands write
        run_commands(page)
    namespace: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


ENCODING = ("get_image_features", "get_image_embeddings")


def calls_that_keep_gradients(code: str, models: set[str]) -> list[str]:
    """Calls of models outside of `torch.inference_mode()` and `torch.no_grad()` that do not lead to a loss.

    models: names of variables that hold models, to which those of this code are added.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and re.match(r"\w*Model\w*\(|\w*Model\w*\.from_", ast.unparse(node.value)):
            models.update(target.id for target in node.targets if isinstance(target, ast.Name))
    found = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.With | ast.FunctionDef):
            managers = (
                node.decorator_list if isinstance(node, ast.FunctionDef) else [i.context_expr for i in node.items]
            )
            if {ast.unparse(manager) for manager in managers} & {"torch.inference_mode()", "torch.no_grad()"}:
                return
        if isinstance(node, ast.Attribute) and node.attr == "loss":  # training
            return
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            is_encoding = isinstance(node.func, ast.Attribute) and node.func.attr in ENCODING
            if function in models or is_encoding:
                found.append(ast.unparse(node))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_examples_that_infer_keep_no_gradients(page):
    models = {"model"}
    assert [call for block in blocks(page, "python") for call in calls_that_keep_gradients(block, models)] == []


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("outputs = model(**inputs)", 1),
        ("half = HQSamModel.from_pretrained('x')\nmasks = process(half(**inputs).pred_masks)", 1),
        ("sam = HQSamModel.from_sam_pretrained('x')\nsam(**inputs)", 1),
        ("auto = AutoModelForMaskGeneration.from_pretrained('x')\ndef f():\n    return auto(pixels)", 1),
        ("features = model.get_image_features(pixels)", 1),
        ("with open('x') as file:\n    model(**inputs)", 1),
        ("with torch.inference_mode():\n    outputs = model(**inputs)", 0),
        ("with torch.no_grad(), open('x') as file:\n    outputs = model(**inputs)", 0),
        ("@torch.no_grad()\ndef f():\n    return model(**inputs)", 0),
        ("model(**inputs).loss.backward()", 0),
        ("predictor.predict(boxes=box)\nmodel.eval()", 0),
    ],
)
def test_calls_that_keep_gradients_are_found(code, number):
    assert len(calls_that_keep_gradients(code, {"model"})) == number


WRITTEN = {
    "README": {"report/evaluation.md", "own-report/evaluation.md"},
    "command_line": {"mask_1.png", "mask_2.png", "overlay.jpg", "cup.png", "cup.json"},
    "evaluation": {"report"},
    "checkpoints": {"sam_hq_vit_b.pth", "my-model", "my-samhq-model", "half-model", "plain-sam"},
    "predictor": {"masks/overlays/photo.jpg.jpg", "masks/coco.json"},
    "automatic_masks": {"masks/coco.json", "masks/overlays/photo.jpg.jpg", "masks/label_maps/photo.jpg.png"},
    "labelling": {"labels/data/train-00000-of-00001.parquet", "labels/coco.json", "labels/skipped.json"},
    "text_prompts": {"found.json", "found.jpg", "found/coco.json", "found/overlays/photo.jpg.jpg"},
}


def run_commands(page: Path) -> int:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("hq-sam ")]
    for command in commands:
        assert main(command[1:]) == 0
    return len(commands)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in WRITTEN], ids=lambda page: page.stem)
@pytest.mark.slow
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
