"""Models in other formats: checkpoint layouts, ONNX, model cards, the original package as reference.

May import: model, masks, inference, utils.
"""
