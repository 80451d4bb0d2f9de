"""IPython and browser integration: magics, completion, progress, panel, library."""
