"""Training and fine-tuning with Accelerate: the work behind `hq-sam train`.

May import: model, masks, data, evaluation, export, utils.
"""
