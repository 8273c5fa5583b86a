"""Small helpers: distributed processes, the path of the embedded checkpoint, lazy exports of packages.

May import: no other package.
"""
