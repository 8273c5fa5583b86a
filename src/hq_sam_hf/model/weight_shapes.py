"""Shapes of weights by key, and the sizes of a model that are derived from them."""

from collections.abc import Mapping

from torch import Tensor


class WeightShapes:
    """Shapes by key, with errors that name the weight that is missing or has a wrong shape.

    source: where the weights come from, for error messages. model: the class whose keys they have.
    """

    def __init__(self, source: str, weights: Mapping[str, Tensor], model: str) -> None:
        self.source = source
        self.model = model
        self._shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a weight. Raises ValueError if it is missing, empty or of another rank."""
        if name not in self._shapes:
            raise ValueError(f"{self.source!r} lacks the weight {name!r} (a key of {self.model}). Download it again.")
        shape = self._shapes[name]
        if len(shape) != rank or 0 in shape:
            raise ValueError(f"{self.source!r}: the weight {name!r} must have {rank} dimensions, got {shape}.")
        return shape

    def count(self, prefix: str) -> int:
        """The number of different indexes after a prefix: the length of a module list."""
        return count_indexes(self._shapes, prefix)


def prompt_encoder_sizes(weights: WeightShapes) -> dict[str, int]:
    """Fields of a prompt encoder's configuration that show in the shapes."""
    return {
        "hidden_size": weights.shape("prompt_encoder.no_mask_embed.weight", 2)[1],
        "mask_input_channels": weights.shape("prompt_encoder.mask_embed.conv2.weight", 4)[0],
    }


def mask_decoder_sizes(weights: WeightShapes, first_mlp_layer: str) -> dict[str, int]:
    """Fields of a mask decoder's configuration that show in the shapes, of SAM and of SAM 2.

    first_mlp_layer: name of the first layer of the MLPs in the two-way transformer.
    """
    block, head = "mask_decoder.transformer.layers.0", "mask_decoder.iou_prediction_head"
    width = weights.shape("mask_decoder.iou_token.weight", 2)[1]
    return {
        "hidden_size": width,
        "mlp_dim": weights.shape(f"{block}.mlp.{first_mlp_layer}.weight", 2)[0],
        "num_hidden_layers": weights.count("mask_decoder.transformer.layers."),
        "attention_downsample_rate": width // weights.shape(f"{block}.cross_attn_token_to_image.q_proj.weight", 2)[0],
        "num_multimask_outputs": weights.shape("mask_decoder.mask_tokens.weight", 2)[0] - 1,
        "iou_head_depth": 2 + weights.count(f"{head}.layers."),
        "iou_head_hidden_dim": weights.shape(f"{head}.proj_in.weight", 2)[0],
    }


def count_indexes(names: Mapping[str, object], prefix: str) -> int:
    """The number of different indexes after a prefix of keys: the length of a module list."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


__all__ = ["WeightShapes", "count_indexes", "mask_decoder_sizes", "prompt_encoder_sizes"]
