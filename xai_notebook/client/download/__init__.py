"""The HTTP client: pictures behind URLs, and the requests to an engine.

`Downloader` fetches pictures; `http` sends one request and decides which connection is allowed and
where a key travels. Only `pinned_adapter` imports requests, with the first request.
"""

from xai_notebook.client.download.downloader import DEFAULT_MEDIA_TYPE as DEFAULT_MEDIA_TYPE
from xai_notebook.client.download.downloader import Downloader as Downloader

__all__ = ["DEFAULT_MEDIA_TYPE", "Downloader"]
