"""Checkout links, and the files that they show."""

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


@attrs.frozen(kw_only=True)
class CheckoutLink(Model):
    """A hosted page that takes a payment: send `url` to whoever pays."""

    id: str
    url: str
    status: CheckoutLinkStatus | None = None


@attrs.frozen(kw_only=True)
class UploadedFile(Model):
    """A stored file. `size` is in bytes, `type` a media type."""

    id: str
    url: str | None = None
    name: str | None = None
    size: int | None = None
    type: str | None = None


class CheckoutLinksApi(BaseClient):
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
            link_name: for you.
            payment_name: what the payer sees.
            amount: what is to be paid, in major units, e.g. `Decimal("49.00")` dollars. Either this or `line_items`.
            description: what the payer sees below the name; may be empty.
            line_items: `[{"product_id": "prod_...", "quantity": 1}, ...]`, priced by the products. May be empty beside
                an `amount`.
            image_ids: ids from `upload_file`, or addresses of pictures.
            image_url: address of one picture.
            status: `active` by default.
            idempotency_key: your own key; one is made when you give none.

        Raises:
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
            raise InvalidArgumentError("amount", "a link that can be paid needs an amount or line_items")
        return await self._post("/checkout-links", body, CheckoutLink, idempotency_key)

    async def upload_file(
        self,
        file: FileSource,
        *,
        name: str | None = None,
        content_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> UploadedFile:
        """Store a file, e.g. a picture for a checkout link (`POST /files`).

        Args:
            file: the path of a regular file, bytes, or an object open for binary reading. A file is streamed, never
                read into memory whole, and an open object is left open. One that can't be rewound (a FIFO, say) is
                sent once: no second try. It is read in a thread, which a time-out leaves behind.
            name: file name; taken from the path or object when not given.
            content_type: media type; guessed from the name when not given.
            idempotency_key: your own key; one is made when you give none.

        Raises:
            InvalidArgumentError: no such file, not something that can be read, or reading failed on the way.
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
        quantity = validation.whole(f"{where}.quantity", fields.get("quantity", 1), least=1)
        checked.append({**fields, "product_id": product, "quantity": quantity})
    return checked
