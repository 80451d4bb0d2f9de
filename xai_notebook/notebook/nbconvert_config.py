"""Configuration that the wheel installs as `etc/jupyter/jupyter_nbconvert_config.py`.

It adds our preprocessor to the user's. It must never fail: Jupyter also reads such a file from
`/usr/local/etc/jupyter`, in environments that do not have the package.
"""

from contextlib import suppress

with suppress(Exception):
    import xai_notebook.notebook.nbconvert  # noqa: F401  # an error must not stop nbconvert

    _NAME = "xai_notebook.notebook.nbconvert.preprocess"
    get_config().Exporter.preprocessors.append(_NAME)  # type: ignore[name-defined] # noqa: F821
