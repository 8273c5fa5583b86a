"""Helpers without a package of their own: distributed processes, the embedded checkpoint.

May import: no other package.
"""
