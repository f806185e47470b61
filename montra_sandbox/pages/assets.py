"""Style sheets, scripts and the icon of the pages. Their names change with their content, so browsers may keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import attrs
from aiohttp import web

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_NAMES = ("pages.css", "dashboard.css", "dashboard.js", "print.js", "favicon.svg")


@attrs.frozen(kw_only=True)
class Asset:
    """A file that pages load.

    Attributes:
        path: where it is served.
        type: the media type.
        content: the bytes.
    """

    path: str
    type: str
    content: bytes


@cache
def all_assets() -> dict[str, Asset]:
    """The assets by file name."""
    folder = resources.files("montra_sandbox.pages").joinpath("assets")
    assets: dict[str, Asset] = {}
    for name in _NAMES:
        content = folder.joinpath(name).read_bytes()
        stem, _, extension = name.partition(".")
        path = f"/assets/{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{extension}"
        assets[name] = Asset(path=path, type=_TYPES[extension], content=content)
    return assets


def asset_path(name: str) -> str:
    """Where an asset is served.

    Args:
        name: the file name, such as `pages.css`.
    """
    return all_assets()[name].path


def asset_routes() -> list[web.RouteDef]:
    """The routes of the assets."""
    by_path = {asset.path: asset for asset in all_assets().values()}

    async def serve(request: web.Request) -> web.Response:
        asset = by_path.get(request.path)
        if asset is None:
            raise web.HTTPNotFound
        return web.Response(
            body=asset.content,
            content_type=asset.type,
            charset="utf-8",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
        )

    async def icon(_: web.Request) -> web.Response:
        asset = all_assets()["favicon.svg"]
        return web.Response(body=asset.content, content_type=asset.type, headers={"Cache-Control": "max-age=3600"})

    return [web.get("/assets/{name}", serve), web.get("/favicon.ico", icon)]
