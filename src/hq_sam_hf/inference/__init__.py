"""From images and prompts to masks in Python: predictor, mask generator, text prompts, pipeline.

May import: model, masks, utils.
"""
