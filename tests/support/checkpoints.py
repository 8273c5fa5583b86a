"""Checkpoints of other kinds, made from the weights of an original HQ-SAM, and a comparison of two models."""

import torch

from support.oracle import SMALL, config_of

SECTIONS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")


def plain_sam(weights):
    """The weights of an original HQ-SAM without its HQ head."""
    parts = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
    return {key: tensor for key, tensor in weights.items() if not any(part in key for part in parts)}


def decoder_alone(weights):
    prefix = "mask_decoder."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def assert_same_weights(model, other):
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, tensor in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def transformers_config(cls, **decoder):
    """The small configuration as one of transformers."""
    stored = config_of(SMALL).to_dict()
    sections = {name: {k: v for k, v in stored[name].items() if k != "model_type"} for name in SECTIONS}
    sections["mask_decoder_config"].update(decoder)
    return cls(**sections)
