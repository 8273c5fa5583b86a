"""Inference in Python: predictor, automatic masks, text prompts and transformers' pipeline.

May import: model, masks, utils.
"""
