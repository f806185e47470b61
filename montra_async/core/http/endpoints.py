"""From a request's path to its endpoint's template: for telemetry and the log, which must not show ids.

The endpoints themselves are generated, one table per service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import attrs

_REST = "{path}"
"""A last part that stands for any number of parts."""


@attrs.frozen
class Endpoint:
    """One endpoint of a service.

    Attributes:
        operation: name of the call that uses it; when there are several, all names with `|` between them.
        template: path with `{name}` in place of ids.
    """

    operation: str
    template: str


class EndpointTable:
    """The endpoints of one service.

    Args:
        service: name of the service.
        calls: name of the call, HTTP method, path template, and whether the call makes other public calls, which then
            name the operation.
    """

    def __init__(self, service: str, calls: Iterable[tuple[str, str, str, bool]]) -> None:
        self.service: str = service
        rows = list(calls)
        direct = {(method, template) for _, method, template, delegates in rows if not delegates}
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._endpoints_by_call: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for call, method, template, delegates in rows:
            self._endpoints_by_call[call].append((method, template))
            if not delegates or (method, template) not in direct:
                names[method, template].append(call)
        self._by_length: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = defaultdict(list)
        self._with_rest: list[tuple[tuple[str, ...], Endpoint]] = []
        for (method, template), calls_of_one in names.items():
            parts = tuple(template.split("/"))
            endpoint = Endpoint("|".join(calls_of_one), template)
            if parts[-1] == _REST:  # of whatever method: the caller chooses it
                self._with_rest.append((parts[:-1], endpoint))
            else:
                self._by_length[method, len(parts)].append((parts, endpoint))

    def calls(self) -> dict[str, list[tuple[str, str]]]:
        """HTTP methods and templates of each call, by the call's name."""
        return dict(self._endpoints_by_call)

    def find(self, method: str, path: str) -> Endpoint | None:
        """The endpoint of a request; None for one that no call uses.

        Args:
            method: HTTP method.
            path: path of the request, ids included.
        """
        parts = path.split("/")
        for template, endpoint in self._by_length.get((method, len(parts)), ()):
            if _matches(parts, template):
                return endpoint
        for beginning, endpoint in self._with_rest:
            if len(parts) >= len(beginning) and _matches(parts, beginning):
                return endpoint
        return None


def _matches(parts: list[str], template: tuple[str, ...]) -> bool:
    return all(wanted == part or wanted[:1] == "{" for part, wanted in zip(parts, template, strict=False))
