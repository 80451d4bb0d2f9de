"""IPython and the browser: the magics, completion, progress, the panel."""
