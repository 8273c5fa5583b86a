import torch
from safetensors.torch import load_file

from hq_sam_hf.training.trainer import train
from support.small_runs import small_run


def test_the_averaged_weights_are_saved(base, tmp_path):
    plain = train(small_run(base, tmp_path / "plain", max_steps=2))
    averaged = train(small_run(base, tmp_path / "averaged", max_steps=2, ema_decay=0.99))
    name = "mask_decoder.hq_token.weight"
    start = load_file(base / "model.safetensors")[name]
    last, average = load_file(plain / "model.safetensors")[name], load_file(averaged / "model.safetensors")[name]
    state = load_file(tmp_path / "plain/checkpoints/step-00000001/trained_weights.safetensors")
    first = next(value for key, value in state.items() if key.endswith("hq_token.weight"))
    # The decays of the two steps are 1/10 and 2/11.
    expected = 2 / 11 * (start / 10 + 9 / 10 * first) + 9 / 11 * last
    assert torch.allclose(average, expected, atol=1e-7)
