"""Five training steps give the HQ weights that the original's training gives; see tests/golden/make_steps.py."""

import numpy as np
import pytest
import torch
from golden.make_steps import SIDE, STEPS, evenly_spaced, fill, step_data

from hq_sam_hf import HQSamConfig, HQSamModel
from hq_sam_hf.model.checkpoint_format import is_hq_key
from hq_sam_hf.model.key_mapping import keys_to_original
from hq_sam_hf.model.losses import mask_loss
from hq_sam_hf.training.objectives import HQHeadObjective, ModelWithLoss
from support.paths import TESTS


def filled_model() -> tuple[HQSamModel, dict[str, str]]:
    """A full-size prompt encoder and mask decoder with the weights that the original had, and their original names."""
    model = HQSamModel(
        HQSamConfig(
            vision_config={"num_hidden_layers": 1, "global_attn_indexes": [0], "image_size": SIDE},
            prompt_encoder_config={"image_size": SIDE},
        )
    )
    state = model.state_dict()
    names = {name: key for name, key in keys_to_original(state).items() if not name.startswith("vision_encoder.")}
    for name, key in names.items():
        state[name] = fill(key, state[name].shape)
    model.load_state_dict(state)
    return model, names


def test_five_steps_match_the_originals_training():
    model, names = filled_model()
    module = ModelWithLoss(model, HQHeadObjective(), [0.0] * 3, [1.0] * 3)
    trained = dict(module.trained_parameters())
    assert set(trained) == {name for name in names if is_hq_key(name)}
    optimizer = torch.optim.Adam(trained.values(), lr=1e-3)
    losses = []
    for step in range(STEPS):
        data = step_data(step)
        masks = model(
            image_embeddings=data["embeddings"],
            intermediate_embeddings=[data["early"]],
            input_boxes=data["boxes"][:, None],
            multimask_output=False,
            hq_token_only=True,
        ).pred_masks
        torch.manual_seed(step)
        loss, bce, dice = mask_loss(masks[:, 0], data["masks"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append([bce.item(), dice.item()])
    with np.load(TESTS / "golden" / "steps.npz") as expected:
        assert np.array(losses) == pytest.approx(expected["losses"], rel=1e-5)
        for name, weight in trained.items():
            key = names[name].removeprefix("mask_decoder.")
            moved = np.abs(evenly_spaced(weight) - evenly_spaced(fill(names[name], weight.shape))).max()
            assert moved > 1e-3, name
            assert np.abs(evenly_spaced(weight) - expected[key]).max() < 1e-5, name
