"""Keeps jsonschema from the optional package of this name, which nothing here needs.

It builds a grammar when it is imported: 1.8 s in every process that reads a notebook.
"""

raise ImportError("the tests do without it: see its docstring")
