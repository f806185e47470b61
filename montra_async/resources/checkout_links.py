"""Checkout links, and uploaded files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from ..core import validation
from ..core.client import BaseClient
from ..core.errors import InvalidArgumentError
from ..core.http.multipart import Attachment, FileSource, multipart
from ..core.models.model import Model
from ..core.type_guards import is_sequence
from ..core.validation import Number
from . import responses

CheckoutLinkStatus: TypeAlias = Literal["active", "inactive"] | str
"""Status of a `CheckoutLink`. Values that this SDK does not know stay strings."""


@attrs.frozen(kw_only=True)
class CheckoutLink(Model):
    """A hosted checkout page.

    Attributes:
        id: `link_...`.
        url: address of the page, to be sent to the payer.
        status: `active` or `inactive`.
    """

    id: str
    url: str
    status: CheckoutLinkStatus | None = None


@attrs.frozen(kw_only=True)
class UploadedFile(Model):
    """A stored file.

    Attributes:
        id: id of the file, for `image_ids` of a checkout link.
        url: address of the file.
        name: file name.
        size: size in bytes.
        type: media type, e.g. `image/png`.
    """

    id: str
    url: str | None = None
    name: str | None = None
    size: int | None = None
    type: str | None = None


class CheckoutLinksApi(BaseClient):
    """Calls for checkout links and files."""

    async def create_checkout_link(
        self,
        *,
        link_name: str,
        payment_name: str,
        amount: Number | None = None,
        description: str | None = None,
        line_items: Sequence[Mapping[str, Any]] | None = None,
        image_ids: Sequence[str] | None = None,
        image_url: str | None = None,
        status: CheckoutLinkStatus | None = None,
        idempotency_key: str | None = None,
    ) -> CheckoutLink:
        """Create a hosted checkout page (`POST /checkout-links`).

        Args:
            link_name: name of the link, not shown to the payer.
            payment_name: title that is shown to the payer.
            amount: price in major units, e.g. `Decimal("49.00")` dollars. Required without `line_items`.
            description: text that is shown below the title; may be empty.
            line_items: `[{"product_id": "prod_...", "quantity": 1}, ...]`; the products have the prices. Required
                without `amount`. `quantity` is 1 by default.
            image_ids: ids from `upload_file`, or addresses of images.
            image_url: address of one image.
            status: `active` (the default) or `inactive`.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            InvalidArgumentError: neither `amount` nor `line_items` is given.
            NotFoundError: a product of `line_items` does not exist.
        """
        body = {
            "link_name": validation.text("link_name", link_name),
            "payment_name": validation.text("payment_name", payment_name),
            "amount": validation.optional_number("amount", amount, above_zero=True),
            "description": validation.optional_description("description", description),
            "line_items": _line_items(line_items),
            "image_ids": validation.texts("image_ids", image_ids),
            "image_url": validation.optional_text("image_url", image_url),
            "status": validation.optional_text("status", status),
        }
        if amount is None and not line_items:
            raise InvalidArgumentError("amount", "either amount or line_items is required")
        return await self._post("/checkout-links", body, CheckoutLink, idempotency_key)

    async def upload_file(
        self,
        file: FileSource,
        *,
        name: str | None = None,
        content_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> UploadedFile:
        """Upload a file, e.g. an image for a checkout link (`POST /files`).

        Args:
            file: the path of a regular file, bytes, or an object open for binary reading. A file is streamed, never
                read into memory as a whole. An open object is not closed; when it can't be rewound (e.g. a FIFO), the
                request is not retried. The file is read in a thread, which goes on after a timeout until its current
                read returns.
            name: file name; taken from the path or the object by default.
            content_type: media type, e.g. `image/png`; guessed from the name by default.
            idempotency_key: 1 to 255 printable ASCII characters without spaces; a random key by default.

        Raises:
            InvalidArgumentError: the file does not exist, or can't be read.
        """
        request = self._with_idempotency_key(self._request("POST", "/files"), idempotency_key)
        named = {"file": Attachment(file, name=name, content_type=content_type)}
        upload = await multipart("file", named, {}, within=self._options.timeout.total)
        request.body, request.single_use, request.repeatable = upload.payload, not upload.rewindable, upload.rewindable
        return await self._send(request, lambda response, sent: responses.MONTRA.decode(response, sent, UploadedFile))


def _line_items(items: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    if items is None:
        return None
    if not is_sequence(items):
        raise InvalidArgumentError("line_items", f"a list of dicts, not {type(items).__name__}")
    checked: list[dict[str, Any]] = []
    for i, item in enumerate(items):
        where = f"line_items[{i}]"
        fields = validation.json_object(where, item)
        if fields is None:
            raise InvalidArgumentError(where, "a dict, not None")
        product = validation.text(f"{where}.product_id", fields.get("product_id"))
        quantity = validation.whole(f"{where}.quantity", fields.get("quantity", 1), minimum=1)
        checked.append({**fields, "product_id": product, "quantity": quantity})
    return checked
