"""The model and its processors: configuration, network, weights, images to pixels and masks back.

One flat folder with single-dot imports, because code that is pushed to the Hub is collected from one folder.

May import: no other package.
"""
