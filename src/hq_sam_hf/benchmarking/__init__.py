"""The paper's benchmarks: annotation files, predicted masks on the disk, metrics and results pages.

May import: model, masks, data, inference, evaluation, utils.
"""
