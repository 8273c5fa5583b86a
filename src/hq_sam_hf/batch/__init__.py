"""From image files and prompts to mask files: the work behind `hq-sam segment` and `hq-sam generate`.

May import: model, masks, data, inference, utils.
"""
