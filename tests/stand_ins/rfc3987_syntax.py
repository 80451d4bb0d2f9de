"""Hides the optional package of this name from jsonschema.

Its import builds a grammar, which takes 1.8 s in every process that reads a notebook.
"""

raise ImportError("hidden by the tests: see tests/stand_ins/rfc3987_syntax.py")
