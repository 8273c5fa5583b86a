"""The web page behind `hq-sam demo`: a session per user, the page's panels, and the server.

May import: model, masks, inference.
"""
