"""aioresponses 0.7.9 on aiohttp 3.14: its responses lack an argument that `ClientResponse` requires since."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from aiohttp import ClientResponse

_WANTS_WRITER = "stream_writer" in inspect.signature(ClientResponse.__init__).parameters


class BridgedResponse(ClientResponse):
    """Pass as `response_class` to `aioresponses.add` and its verbs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _WANTS_WRITER:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)
