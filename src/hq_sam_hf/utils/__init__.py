"""Small helpers: processes, threads, locks, options of runs, the path of the embedded checkpoint, lazy exports.

May import: no other package.
"""
