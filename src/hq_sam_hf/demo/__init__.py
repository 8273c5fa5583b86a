"""The web page behind `hq-sam demo`.

May import: model, masks, inference, utils.
"""
