"""SAM 2's prompt encoder: that of SAM, with the embeddings of points in one table and one more token for boxes."""

from torch import Tensor, nn

from .configuration_hq_sam import NOT_A_POINT
from .configuration_hq_sam2 import HQSam2Config
from .modeling_prompt_encoder import HQSamPositionalEmbedding, HQSamPromptEncoder
from .tensor_types import rows_of


class HQSam2PromptEncoder(HQSamPromptEncoder):
    def __init__(self, config: HQSam2Config) -> None:
        super().__init__(config)
        prompt = config.prompt_encoder_config
        self.point_embed = nn.Embedding(prompt.num_point_embeddings, prompt.hidden_size)

    def forward(
        self,
        position: HQSamPositionalEmbedding,
        input_points: Tensor | None,
        input_labels: Tensor | None,
        input_boxes: Tensor | None,
        input_masks: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """As `HQSamPromptEncoder.forward`. A prompt with points or a box has one "not a point" token too."""
        if input_points is None and input_boxes is not None:
            input_points = input_boxes.new_zeros(*input_boxes.shape[:2], 0, 2)
            input_labels = input_points[..., 0].long()
        return super().forward(position, input_points, input_labels, input_boxes, input_masks)

    def needs_not_a_point(self, has_points: Tensor, has_box: Tensor | None) -> Tensor:
        """Which prompts (B, P, 1) get a "not a point" token: those with points or a box, which is two points."""
        return has_points if has_box is None else has_points | has_box

    def point_embedding(self, label: int) -> Tensor:
        """What is added to the code of a point with this label, (1, C)."""
        if label == NOT_A_POINT:
            return rows_of(self.not_a_point_embed)
        return rows_of(self.point_embed)[label : label + 1]


__all__ = ["HQSam2PromptEncoder"]
