"""Inference on image files: reads images and prompts, writes mask files (`hq-sam segment`, `hq-sam generate`).

May import: model, masks, data, inference, utils.
"""
