"""Metrics of a model on data sets: the work behind `hq-sam evaluate`.

May import: model, masks, data, scenes, inference, utils.
"""
