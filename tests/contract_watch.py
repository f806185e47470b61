"""Hold what a client sends and gets against the OpenAPI document, on the wire, through aiohttp's tracing."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import aiohttp

from montra_sandbox.contract import describe, read_contract

_OURS = ("X-SDK-Version", "X-Paywall-Id", "Accept", "User-Agent")


class ContractWatch:
    """`service` is the name of its contract; `base_url` is what its paths are relative to."""

    def __init__(self, base_url: str, *, answers: bool = True, service: str = "montra") -> None:
        self._base_url = base_url
        self._contract = read_contract(service)
        self._service = service
        self._answers = answers
        self._problems: list[str] = []
        self._with_body: list[Any] = []
        self.seen: set[str] = set()

    @property
    def problems(self) -> list[str]:
        unseen = [one.end for one in self._with_body if not one.got]
        return self._problems + [f"nobody saw the answer of {end.method} {end.url.path}" for end in unseen]

    def answers(self, watched: bool) -> None:
        """Whether answers are held against the contract, too; not while a test breaks them on purpose."""
        self._answers = watched

    def trace(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig(trace_config_ctx_factory=lambda **_: SimpleNamespace(sent=b"", got=b"", end=None))
        config.on_request_chunk_sent.append(self._sent)
        config.on_request_end.append(self._end)
        config.on_response_chunk_received.append(self._got)
        return config

    async def _sent(self, _: Any, context: Any, params: aiohttp.TraceRequestChunkSentParams) -> None:
        context.sent += params.chunk

    async def _got(self, _: Any, context: Any, params: aiohttp.TraceResponseChunkReceivedParams) -> None:
        context.got += params.chunk
        self._check(context)

    async def _end(self, _: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        context.end = params
        streams = "/api-gateway/" in params.url.path  # whoever asked may leave those unread
        if self._answers and params.response.content_length and not streams:
            self._with_body.append(context)
        self._check(context)

    def _check(self, context: Any) -> None:
        """Once both the end of the request and the body of the answer are here."""
        if context.end is None or (self._answers and not context.got):
            return
        end = context.end
        path = str(end.url)[len(self._base_url) :].partition("?")[0]
        if path.startswith("/v1/api-gateway/"):  # what a provider answers is its own business
            path = path.rpartition("/v1/api-gateway/")[1] + path.split("/")[3]
        operations = {one.method: one for one, _ in self._contract.at(path)}
        operation = operations.get(end.method)
        if operation is None:
            self._problems.append(f"no operation {end.method} {path}")
            return
        self.seen.add(operation.id)
        status = end.response.status
        answer = operation.responses.get(str(status), operation.responses["default"])
        if self._answers and end.response.content_type == "application/json":
            self._note(operation.id, "answer", describe(answer, json.loads(context.got, parse_float=Decimal)))
        if status not in (400, 413):
            self._check_request(operation, end, context.sent)

    def _check_request(self, operation: Any, end: Any, sent: bytes) -> None:
        query = dict(end.url.query)
        typed = {k: int(v) if operation.query_types.get(k) == "integer" else v for k, v in query.items()}
        self._note(operation.id, "query", describe(operation.query_validator, typed))
        self._note(operation.id, "query", [f"unknown {name}" for name in query.keys() - operation.query_types.keys()])
        if self._service == "paywall":
            self._note(operation.id, "header", [f"no {name}" for name in _OURS if name not in end.headers])
        elif end.method == "POST":
            key = end.headers.get("Idempotency-Key")
            self._note(operation.id, "header", [] if key else ["no idempotency key"])
            self._note(operation.id, "header", describe(operation.headers_validator, {"Idempotency-Key": key}))
        json_sent = end.headers.get("Content-Type") == "application/json"
        if operation.body is not None and (json_sent or (operation.body_required and not operation.multipart)):
            self._note(operation.id, "body", describe(operation.body, json.loads(sent, parse_float=Decimal)))

    def _note(self, operation: str, where: str, problems: Any) -> None:
        self._problems += [f"{operation} {where}: {problem}" for problem in problems]
