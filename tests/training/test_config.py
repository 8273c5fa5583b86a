import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from hq_sam_hf.training.config import OBJECTIVES, TrainingConfig
from support.paths import ROOT

LEAST = {"model": "base", "data": "hqseg44k", "output_dir": "runs/a"}


def test_the_defaults_are_the_papers_recipe():
    config = TrainingConfig.from_dict(LEAST)
    assert (config.train, config.optimizer, config.learning_rate) == ("hq_head", "adam", 1e-3)
    assert (config.epochs, config.schedule, config.drop_epoch) == (12, "step", 10)
    assert config.batch_size * config.accumulation == 32
    assert config.prompts == ["box", "points", "mask"]
    assert config.scales == [0.1, 2.0]


def test_overrides_replace_fields_of_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model: base\ndata: {kind: scenes, count: 10}\noutput_dir: runs/a\nlearning_rate: 1e-4\n")
    config = TrainingConfig.load(file, ["data.size=64", "epochs=3", "scales=null", "trackers=[tensorboard]"])
    assert config.data == {"kind": "scenes", "count": 10, "size": 64}
    assert (config.epochs, config.scales, config.trackers) == (3, None, ["tensorboard"])
    assert config.learning_rate == 1e-4  # YAML reads 1e-4 as text and 1.0e-4 as a number


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lerning_rate": 1}, "`lerning_rate` is not a field .* Did you mean `learning_rate`"),
        ({"epochs": "many"}, "`epochs` must be an integer, got 'many'"),
        ({"epochs": True}, "`epochs` must be an integer, got True"),
        ({"epochs": 0}, "`epochs` must be positive, got 0"),
        ({"learning_rate": "fast"}, "`learning_rate` must be a number, got 'fast'"),
        ({"scales": [2.0, 1.0]}, r"`scales` must be \[low, high\]"),
        ({"train": "everything"}, "`train` must be one of hq_head"),
        ({"hq_init": "zeros"}, "`hq_init` must be one of random, sam, got 'zeros'"),
        ({"hq_init": "sam", "train": "sam_decoder"}, "`hq_init` must be 'random' for `train: sam_decoder`"),
        ({"prompts": ["box", "points"], "train": "sam"}, "`prompts` must be among box, point, got"),
        ({"prompts": []}, r"`prompts` must be among box, points, point, mask, got \[\]"),
        ({"prompts": ["box", 3]}, r"`prompts` must be a list of texts or null, got \['box', 3\]"),
        ({"image_size": "big"}, "`image_size` must be an integer or null, got 'big'"),
        ({"data": 3}, "`data` must be text or a mapping or a list of mappings, got 3"),
        ({"prompts": ["box", "text"]}, "`prompts` must be among box, points, point, mask, got"),
        ({"precision": "int8"}, "`precision` must be one of fp32, bf16, fp16"),
        ({"model": None}, "`model` must be given, or `architecture` instead"),
        ({"architecture": {}}, "`model` must be given, or `architecture` instead"),
        ({"model": None, "architecture": {"a": 1}}, "`train` must be 'sam'"),
        ({"data": ""}, "`data` must be the root folder of HQSeg-44K"),
        ({"lora": {"r": 8}}, "`lora` must be a mapping of"),
        ({"lora": {"rank": 0}}, "`lora.rank` must be a positive integer, got 0"),
        ({"lora": {"rank": "high"}}, "`lora.rank` must be a positive integer, got 'high'"),
        ({"lora": {"alpha": "x"}}, "`lora.alpha` must be a positive number, got 'x'"),
        ({"lora": {"decoder": 1}}, "`lora.decoder` must be true or false, got 1"),
        ({"lora": {"rank": 8}, "train": "sam"}, "`lora` must be null for `train: sam`"),
        ({"lora": {"decoder": True}, "train": "sam_decoder"}, "`lora.decoder` must be false for `train: sam_decoder`"),
        ({"eval_prompts": []}, "`eval_prompts` must be at least one prompt"),
        (
            {"model": None, "architecture": {"vision_config": {"model_type": "hq_sam_tiny_vit"}}, "train": "sam"},
            "`train: sam` saves a plain SAM in transformers' layout, which has no TinyViT",
        ),
        ({"resume": 1}, "`resume` must be true or false, got 1"),
        ({"ema_decay": 1.0}, r"`ema_decay` must be in \[0, 1\)"),
    ],
)
def test_an_error_names_the_field_and_its_value(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig.from_dict({**LEAST, **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "must hold `key: value` lines, got list"), ("a: [1\n", "is not valid YAML"), ("", "got NoneType")],
)
def test_a_file_must_be_a_yaml_mapping(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainingConfig.load(file)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "must have the form key=value"),
        ("model.name=3", "`model` is not a mapping"),
        ("data.sets=[dis", r"value of the override 'data.sets=\[dis' is not valid YAML"),
    ],
)
def test_an_error_names_the_override(tmp_path, override, message):
    file = tmp_path / "run.yaml"
    file.write_text("model: base\ndata: x\noutput_dir: y\n")
    with pytest.raises(ValueError, match=message):
        TrainingConfig.load(file, [override])


def test_path_objects_become_text():
    config = TrainingConfig(model=Path("base"), data={"root": Path("a/b")}, output_dir=Path("out"))
    assert (config.model, config.data, config.output_dir) == ("base", {"root": "a/b"}, "out")


def test_a_resumed_run_may_be_longer_but_not_different():
    earlier = TrainingConfig.from_dict(LEAST).to_dict()
    TrainingConfig.from_dict({**LEAST, "epochs": 20, "num_workers": 7, "resume": True}).refuse_changes(earlier)
    with pytest.raises(ValueError, match="`learning_rate` was 0.001 and is 0.1; `seed` was 42 and is 1"):
        TrainingConfig.from_dict({**LEAST, "learning_rate": 0.1, "seed": 1}).refuse_changes(earlier)


def test_a_run_of_an_older_version_may_lack_new_fields():
    earlier = TrainingConfig.from_dict(LEAST).to_dict()
    del earlier["ema_decay"]
    TrainingConfig.from_dict(LEAST).refuse_changes(earlier)
    with pytest.raises(ValueError, match="`ema_decay` was 0.0 and is 0.9"):
        TrainingConfig.from_dict({**LEAST, "ema_decay": 0.9}).refuse_changes(earlier)


def test_a_resumed_run_keeps_the_length_of_its_cosine_schedule():
    earlier = TrainingConfig.from_dict({**LEAST, "schedule": "cosine"}).to_dict()
    with pytest.raises(ValueError, match="`epochs` was 12 and is 20"):
        TrainingConfig.from_dict({**LEAST, "schedule": "cosine", "epochs": 20}).refuse_changes(earlier)
    stated = {**LEAST, "schedule": "cosine", "schedule_steps": 500}
    TrainingConfig.from_dict({**stated, "epochs": 20}).refuse_changes(TrainingConfig.from_dict(stated).to_dict())


DOCS = ROOT / "docs" / "training.md"


def test_configurations_in_the_docs_load():
    blocks = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    recipe = TrainingConfig.from_dict(yaml.safe_load(blocks[0]))
    assert recipe == TrainingConfig(
        model="facebook/sam-vit-large",
        data="hqseg44k",
        validation="hqseg44k",
        output_dir="runs/large",
        precision="bf16",
    )
    for line in blocks[1].splitlines():
        TrainingConfig.from_dict({**LEAST, **yaml.safe_load(line)})


def test_the_override_command_in_the_docs_works(tmp_path):
    (tmp_path / "run.yaml").write_text(re.search(r"^```yaml\n(.*?)^```", DOCS.read_text(), re.M | re.S)[1])
    command = next(line for line in DOCS.read_text().splitlines() if line.startswith("hq-sam train run.yaml learning"))
    config = TrainingConfig.load(tmp_path / "run.yaml", command.split()[3:])
    assert (config.learning_rate, config.output_dir) == (3e-4, "runs/other")
    assert config.data == {"kind": "hqseg44k", "root": "hqseg44k", "sets": ["dis", "thin"]}


def field_docstrings() -> dict[str, str]:
    """The docstring after each field of `TrainingConfig`, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(TrainingConfig))).body
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)
    }


def test_every_field_has_a_docstring():
    assert list(field_docstrings()) == [field.name for field in dataclasses.fields(TrainingConfig)]


def test_the_docs_list_every_field_with_its_default_and_docstring():
    table = DOCS.read_text().partition("## All fields")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", table, re.MULTILINE)
    defaults = TrainingConfig(model="m", data="d", output_dir="o")
    expected = []
    for name, meaning in field_docstrings().items():
        default = "" if name in LEAST else f"`{json.dumps(getattr(defaults, name))}`"
        expected.append((name, default, meaning))
    assert rows == expected


def test_the_docs_list_every_objective():
    table = DOCS.read_text().partition("## Objectives")[2].partition("\n## ")[0]
    _heading, *listed = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)
    assert listed == list(OBJECTIVES)
