"""Data sets: where rows come from, how a row is read, prompts simulated from ground truth, augmentation.

May import: model, masks, scenes.
"""
