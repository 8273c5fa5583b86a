"""Data sets: loading (`factory`), reading rows (`reading`), simulated prompts and augmentation.

May import: model, masks, scenes.
"""
