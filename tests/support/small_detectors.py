"""Zero-shot detectors of transformers with random weights and a vocabulary of a few words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTProcessor,
    PreTrainedTokenizerFast,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

WORDS = ("cup", "spoon", "red", "table")


def tokenizer(special: dict[str, int], first: int, begin: str, end: str, pad: str) -> PreTrainedTokenizerFast:
    vocabulary = {**special, **{word: first + i for i, word in enumerate(WORDS)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, special[begin]), (end, special[end])]
    )
    names = {"pad_token": pad, "unk_token": "[UNK]", "cls_token": begin, "sep_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=16, **names)


def save_grounding_dino(folder: str | Path) -> None:
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=2010,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
        encoder_n_points=2,
        decoder_n_points=2,
        max_text_len=16,
    )
    model = GroundingDinoForObjectDetection(config).eval()
    with (
        torch.no_grad()
    ):  # overlapping boxes of different sizes; untrained ones would all have a twentieth of the image's side
        for head in model.bbox_embed:
            head.layers[-1].weight.normal_(std=0.3)
            head.layers[-1].bias[2:] += 2
    # The model separates labels at the token ids of these special tokens.
    special = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    words = tokenizer(special, 2000, "[CLS]", "[SEP]", "[PAD]")
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    model.save_pretrained(folder)
    GroundingDinoProcessor(images, words).save_pretrained(folder)


def save_owlvit(folder: str | Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"[PAD]": 0, "<s>": 1, "</s>": 2, "[UNK]": 3}
    text = {"vocab_size": 8, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = OwlViTConfig(
        text_config={**sizes, **text},
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = OwlViTForObjectDetection(config).eval()
    with torch.no_grad():  # each box lies around its cell of the grid, with a score of about 0.5
        for parameter in [*model.box_head.parameters(), *model.class_head.parameters()]:
            parameter.normal_(std=0.1)
        model.box_head.dense2.bias[2:] += 1
    words = tokenizer(special, 4, "<s>", "</s>", "[PAD]")
    model.save_pretrained(folder)
    OwlViTProcessor(OwlViTImageProcessorPil(size={"height": 32, "width": 32}), words).save_pretrained(folder)
