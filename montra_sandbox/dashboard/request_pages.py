"""The requests that both APIs received: a live list with filters, and one with its bodies and as code."""

from __future__ import annotations

from aiohttp import web

from ..problems import not_found
from ..request_log import RecordedRequest
from ..world import FIRST_PAYWALL_ID
from .routing import Done, form, page
from .snippets import as_curl, as_python
from .view import View

_PAGE_SIZE = 50
_METHODS = ("", "GET", "POST", "PATCH", "PUT", "DELETE")
_SERVICES = ("", "montra", "paywall")
_START_CODE = """\
async with Montra(os.environ["MONTRA_API_KEY"], "{base_url}") as montra:
    print(await montra.list_customers())"""


async def show_requests(view: View) -> web.StreamResponse:
    """Show the requests, newest first; `?method=`, `?path=`, `?service=` and `?failed=1` filter.

    Args:
        view: the request.
    """
    method, path, service = view.query("method").upper(), view.query("path"), view.query("service")
    failed = bool(view.query("failed"))
    kept = view.world.requests.find(failed=failed, method=method or None, path=path or None)
    found = [request for request in reversed(kept) if service in ("", request.service)]
    start = (view.page_number() - 1) * _PAGE_SIZE
    return view.page(
        "requests.html",
        section="requests",
        rows=view.make_rows(found[start : start + _PAGE_SIZE + 1], _PAGE_SIZE),
        filters={"method": method, "path": path, "service": service, "failed": failed},
        is_filtered=bool(method or path or service or failed),
        methods=_METHODS,
        services=_SERVICES,
        start_code=_START_CODE.format(base_url=f"{view.world.origin}/api/v1"),
    )


async def show_request(view: View) -> web.StreamResponse:
    """Show a request with its bodies, and as code.

    Args:
        view: the request.
    """
    request = _find(view, view.path_value("id"))
    return view.page(
        "request.html",
        section="requests",
        request=request,
        curl=as_curl(request, view.world.origin),
        python=as_python(request, view.world.origin, FIRST_PAYWALL_ID),
    )


def _find(view: View, request_id: str) -> RecordedRequest:
    for request in view.world.requests:
        if request.id == request_id:
            return request
    raise not_found("request", request_id[:100])


async def clear(view: View) -> Done:
    """Forget the requests.

    Args:
        view: the request.
    """
    view.controls.clear_requests()
    return Done("The requests were forgotten.", "/dashboard/requests")


ROUTES = (
    page("/dashboard/requests", show_requests),
    page("/dashboard/requests/{id}", show_request),
    form("/dashboard/requests/clear", clear),
)
