"""The mask decoder: SAM's two-way transformer and heads, the HQ output token and the fused HQ feature.

The state-dict names are those of transformers; the computation gives the numbers of `mask_decoder_hq.py` in the
original repository, because the decoder inside transformers upscales the wrong tensor.

Letters in shapes: B images, P prompts each, N = B P; M masks per prompt; T tokens; C channels; h x w embedding grid,
L = h w; c = C / 8 channels of the features that masks are read from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamFeedForward, SamLayerNorm

from .configuration_hq_sam import HQSamMaskDecoderConfig
from .key_mapping import HQ_HEAD_MODULES
from .modeling_hq_mask import refined_products
from .modeling_kernels import band_size
from .modeling_two_way_transformer import HQSamTwoWayTransformer
from .modeling_upscaling import put_cells, upscale_cells


class HQSamMaskDecoder(nn.Module):
    def __init__(self, config: HQSamMaskDecoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_mask_tokens = config.num_multimask_outputs + 1

        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.transformer = HQSamTwoWayTransformer(config)
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(
            SamFeedForward(width, width, width // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = SamFeedForward(
            width, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )

        # HQ_HEAD_MODULES
        self.hq_token = nn.Embedding(1, width)
        self.hq_mask_mlp = SamFeedForward(width, width, width // 8, 3)
        self.compress_vit_conv1 = nn.ConvTranspose2d(config.vit_dim, width, kernel_size=2, stride=2)
        self.compress_vit_norm = SamLayerNorm(width, data_format="channels_first")
        self.compress_vit_conv2 = nn.ConvTranspose2d(width, width // 8, kernel_size=2, stride=2)
        self.encoder_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.encoder_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.encoder_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = SamLayerNorm(width // 4, data_format="channels_first")
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    @torch.no_grad()
    def start_hq_mask_from_sam(self) -> None:
        """Set the HQ head such that the HQ mask has the signs of SAM's single mask, from which training goes on.

        The token and its network become copies of SAM's. The image's part of the HQ feature becomes zero, and the
        refinement of SAM's features x (c) becomes x / rms(x): the first convolution gives [x, -x], whose mean is zero,
        so that the norm divides by rms(x), and GELU(x) - GELU(-x) = x. The paper starts from random weights.

        SAM's mask here is the one that is made beside an HQ token. A second token like SAM's takes attention from the
        others, so it differs a little from the mask of `sam_only`.
        """
        self.hq_token.weight.copy_(self.mask_tokens.weight[:1])
        self.hq_mask_mlp.load_state_dict(self.output_hypernetworks_mlps[0].state_dict())
        for convolution in (self.compress_vit_conv2, self.encoder_conv2, self.mask_conv1, self.mask_conv2):
            for weight in convolution.parameters():
                nn.init.zeros_(weight)
        self.mask_norm.reset_parameters()
        expand, contract, width = self.mask_conv1.weight, self.mask_conv2.weight, self.mask_conv1.in_channels
        nn.init.dirac_(expand, groups=2)
        expand[width:] *= -1
        nn.init.dirac_(contract)
        contract[:, width:] = -contract[:, :width]

    def fuse_hq_features(self, image_embeddings: Tensor, early_embeddings: Tensor) -> Tensor:
        """The part of the HQ feature that depends on the image alone.

        image_embeddings (B, C, h, w), before any mask prompt is added; early_embeddings (B, h, w, vit_dim).
        Returns (B, c, 4h, 4w).
        """
        image = image_embeddings.permute(0, 2, 3, 1)
        final = upscale_cells(image, self.encoder_conv1, self.encoder_norm, self.encoder_conv2)
        early = upscale_cells(
            early_embeddings, self.compress_vit_conv1, self.compress_vit_norm, self.compress_vit_conv2
        )
        number, height, width = image.shape[:3]
        features = image.new_empty(number, 4 * height, 4 * width, final.shape[-1])
        put_cells(final + early, features)
        return features.permute(0, 3, 1, 2).contiguous()

    def project_image(self, image: Tensor, image_positions: Tensor) -> Tensor:
        """What the first attention makes of image (B, C, h, w), which holds its dense prompt: (B, 3, L, C / rate)."""
        return self.transformer.project_image(image.flatten(2).mT, image_positions)

    def forward(
        self,
        image_embeddings: Tensor,
        image_positions: Tensor,
        hq_features: Tensor | None,
        sparse_prompt_embeddings: Tensor | None,
        absent_prompt_tokens: Tensor | None,
        dense_prompt_embeddings: Tensor,
        num_prompts: int,
        multimask_output: bool,
        hq_token_only: bool,
        image_projections: Tensor | None = None,
        min_iou_score: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks and scores of P prompts on each of B images.

            image_embeddings (B, C, h, w); image_positions (L, C), the code of each; hq_features (B, c, 4h, 4w),
                or None to decode as a plain SAM does, without the HQ token;
            sparse_prompt_embeddings (B, P, T, C); absent_prompt_tokens (B, P, T), True where attention must not look;
            dense_prompt_embeddings (B or 1, P or 1, C, h, w);
            image_projections: what `project_image` makes of image_embeddings + dense_prompt_embeddings, where the
                latter are the same for all prompts; by default computed here

        Returns mask logits (B, P, M, 4h, 4w) and scores (B, P, M). M is 1, or with multimask_output and without
        hq_token_only num_multimask_outputs, best score first. The score is SAM's estimate of the IoU of its own mask;
        HQ-SAM has none for the HQ mask. With min_iou_score, masks of no higher score are not made: their logits are
        -inf.
        """
        batch, _, height, width = image_embeddings.shape
        tokens, hide = self._tokens(
            (batch, num_prompts), hq_features is not None, sparse_prompt_embeddings, absent_prompt_tokens
        )
        dense_image = image_embeddings[:, None] + dense_prompt_embeddings  # (B, 1 or P, C, h, w)
        if dense_image.shape[1] > 1:
            image_projections = None
        elif image_projections is None:
            image_projections = self.project_image(dense_image[:, 0], image_positions)

        candidates = list(range(1, self.num_mask_tokens)) if multimask_output else [0]
        vectors_of = [] if hq_token_only else candidates
        wanted = [0, *(1 + i for i in vectors_of)]  # the IoU token, then those of the masks to be made
        if hq_features is not None:
            wanted.append(1 + self.num_mask_tokens)
        dense_image = dense_image.flatten(3).mT  # (B, 1 or P, L, C)
        tokens, image = self.transformer(tokens, dense_image, image_positions, hide, image_projections, wanted)

        scores, vectors = self._scores_and_vectors(tokens, candidates, vectors_of)
        hq_vectors = None if hq_features is None else self.hq_mask_mlp(tokens[:, :, -1])  # (B, P, c)
        if hq_token_only:
            scores = scores[:, :, :1]
        masks = self._passing_masks(
            image.flatten(0, 1).unflatten(1, (height, width)),
            None if vectors is None else vectors.flatten(0, 1),
            None if hq_vectors is None else hq_vectors.flatten(0, 1),
            scores.flatten(0, 1),
            min_iou_score,
        ).unflatten(0, (batch, num_prompts))
        if hq_features is not None and hq_vectors is not None:
            masks = masks + (hq_vectors @ hq_features.flatten(2))[:, :, None]
        return masks.unflatten(-1, (4 * height, 4 * width)), scores

    def _tokens(
        self, shape: tuple[int, int], with_hq: bool, sparse: Tensor | None, absent: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Output tokens before the prompt tokens, (B, P, T, C), and what hides the absent ones, (B, P, T)."""
        weights = [self.iou_token.weight, self.mask_tokens.weight]
        if with_hq:
            weights.append(self.hq_token.weight)
        output = torch.cat(weights).expand(*shape, -1, -1)
        if sparse is None or absent is None:
            return output, None
        tokens = torch.cat([output, sparse.to(output.dtype)], dim=2)
        hide = torch.zeros_like(tokens[..., 0])
        prompt = hide[..., output.shape[2] :].masked_fill(absent, float("-inf"))
        return tokens, torch.cat([hide[..., : output.shape[2]], prompt], dim=-1)

    def _scores_and_vectors(
        self, tokens: Tensor, candidates: list[int], vectors_of: list[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Scores (B, P, M) of SAM's candidate masks, best first, and their hypernetwork vectors (B, P, M, c).

        tokens: the IoU token, then those of the masks vectors_of, which are all candidates or none.
        """
        scores = self.iou_prediction_head(tokens[:, :, 0])[..., candidates]
        # stable: on a tie the original takes the first mask
        scores, order = scores.sort(dim=2, descending=True, stable=True)
        if not vectors_of:
            return scores, None
        vectors = [self.output_hypernetworks_mlps[i](tokens[:, :, 1 + k]) for k, i in enumerate(vectors_of)]
        stacked = torch.stack(vectors, dim=2)
        return scores, stacked.gather(2, order[..., None].expand_as(stacked))

    def _passing_masks(
        self,
        image: Tensor,
        vectors: Tensor | None,
        hq_vectors: Tensor | None,
        scores: Tensor,
        min_iou_score: float | None,
    ) -> Tensor:
        """`_masks` where scores (N, M) are higher than min_iou_score, -inf elsewhere."""
        if min_iou_score is None:
            return self._masks(image, vectors, hq_vectors)
        passes = scores.float() > min_iou_score
        if torch.compiler.is_compiling() or passes.any(dim=1).all():
            masks = self._masks(image, vectors, hq_vectors)
        else:
            some = passes.any(dim=1).nonzero()[:, 0]
            masks = image.new_full((*passes.shape, 16 * image.shape[1] * image.shape[2]), float("-inf"))
            if len(some) > 0:
                some_vectors = None if vectors is None else vectors[some]
                some_hq_vectors = None if hq_vectors is None else hq_vectors[some]
                masks[some] = self._masks(image[some], some_vectors, some_hq_vectors)
        return masks.masked_fill(~passes[..., None], float("-inf"))

    def _upscale(self, image: Tensor) -> Tensor:
        """The features (N, 4h + 2, 4w, c) that SAM's masks are products with, between rows of zeros.

        image (N, h, w, C), attended.
        """
        number, height, width, channels = image.shape
        bordered = image.new_empty(number, 4 * height + 2, 4 * width, channels // 8)
        bordered[:, :1] = 0
        bordered[:, -1:] = 0
        rows = band_size(image, height, number * width * 2 * channels)
        for top in range(0, height, rows):
            cells = upscale_cells(
                image[:, top : top + rows], self.upscale_conv1, self.upscale_layer_norm, self.upscale_conv2
            )
            put_cells(F.gelu(cells), bordered[:, 1 + 4 * top : 1 + 4 * top + 4 * cells.shape[1]])
        return bordered

    def _masks(self, image: Tensor, vectors: Tensor | None, hq_vectors: Tensor | None) -> Tensor:
        """Logits (N, M, 16 L) but for what the HQ mask reads from the image alone.

        image (N, h, w, C), attended; vectors (N, M, c) of SAM's masks and hq_vectors (N, c) of the HQ mask, which is
        added to each of SAM's, or of which one is None.
        """
        bordered = self._upscale(image)
        masks: Tensor | None = None
        if vectors is not None:
            masks = vectors @ bordered[:, 1:-1].flatten(1, 2).mT
        if hq_vectors is not None:
            hq_masks = refined_products(bordered, hq_vectors, self.mask_conv1, self.mask_norm, self.mask_conv2)
            hq_masks = hq_masks.flatten(1)[:, None]
            masks = hq_masks if masks is None else masks + hq_masks
        assert masks is not None
        return masks


__all__ = ["HQ_HEAD_MODULES", "HQSamMaskDecoder"]
