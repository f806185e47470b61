"""Uploaded files."""

from __future__ import annotations

from typing import Any

from ..context import Context, Handler
from ..problems import invalid
from ..store import new_id


def upload_file(context: Context) -> Any:
    part = context.part
    if part is None:
        raise invalid("send multipart/form-data with the file in a part named `file`")
    file_id = new_id("file")
    context.store.insert(
        "files",
        id=file_id,
        merchant_id=context.merchant_id,
        name=part.name,
        type=part.type,
        size=len(part.content),
        content=part.content,
        created_at=context.now_text,
    )
    shown = {
        "id": file_id,
        "url": f"{context.origin}/files/{file_id}",
        "name": part.name,
        "size": len(part.content),
        "type": part.type,
    }
    context.record("file.created", file_id, shown)
    return shown


HANDLERS: dict[str, Handler] = {"upload_file": upload_file}
