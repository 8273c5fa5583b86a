"""The names of transformers that its documentation does not promise stand in one module, and do what they are for."""

import ast
import logging
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import hq_sam_hf
from hq_sam_hf import HQSamModel
from hq_sam_hf.model import compatibility
from hq_sam_hf.model.modeling_pretrained import HQSamPreTrainedModel
from support.oracle import SMALL, config_of

MODEL_FILES = sorted((Path(hq_sam_hf.__file__).parent / "model").glob("*.py"))
# Attributes that the documentation of custom models tells authors to set, or that transformers' own models read.
MODEL_ATTRIBUTES = {
    "_attn_implementation",
    "_init_weights",
    "_keep_in_fp32_modules_strict",
    "_keys_to_ignore_on_load_unexpected",
    "_no_split_modules",
    "_supports_sdpa",
}


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_no_other_module_imports_such_a_name(path):
    if path.stem == "compatibility":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("transformers"):
            names = {alias.name for alias in node.names}
            assert not names & {"no_init_weights", "no_tie_weights"}
            assert not any(name.startswith("_") for name in names), names
            assert not any(part.startswith("_") for part in node.module.split(".")), node.module


def test_the_private_attributes_of_the_model_class_are_the_documented_ones():
    own = {name for cls in (HQSamModel, HQSamPreTrainedModel) for name in vars(cls)}
    private = {name for name in own if name.startswith("_") and not name.startswith("__")}
    assert private & set(dir(PreTrainedModel)) <= MODEL_ATTRIBUTES


def test_no_init_weights_leaves_the_random_generator_alone():
    before = torch.random.get_rng_state()
    with torch.device("meta"), compatibility.no_init_weights():
        HQSamModel(config_of(SMALL))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_set_attention_chooses_the_implementation_of_the_model():
    for implementation in ("eager", "sdpa"):
        config = config_of(SMALL)
        compatibility.set_attention(config, implementation)
        compatibility.set_attention(config, None)  # keeps it
        with torch.device("meta"):
            assert HQSamModel(config).config._attn_implementation == implementation


def test_the_load_report_is_silenced_and_other_warnings_are_not():
    logger = logging.getLogger("transformers.modeling_utils")
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with compatibility.without_load_report():
            logger.warning("HQSamModel LOAD REPORT from: somewhere")
            logger.warning("another warning")
        logger.warning("HQSamModel LOAD REPORT again")
    finally:
        logger.removeHandler(handler)
    assert messages == ["another warning", "HQSamModel LOAD REPORT again"]
