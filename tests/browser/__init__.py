"""Tests in a browser. They share one browser and one Jupyter server: see `conftest.py`."""
