"""Tests in a browser: they share one, and one Jupyter server, as `conftest.py` says."""
