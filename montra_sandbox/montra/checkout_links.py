"""Checkout links, and the files that are uploaded for them. `payments` is about paying a link."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..database import Row
from ..ids import new_id
from ..json import decimal_text, dumps, loads
from ..problems import conflict, invalid
from .charges import total
from .merchant_context import MerchantContext, operation


@operation("create_checkout_link")
def create_checkout_link(context: MerchantContext) -> Any:
    """POST /checkout-links."""
    body = context.body
    items: list[dict[str, Any]] = [
        {"product_id": item["product_id"], "quantity": int(item.get("quantity", 1))}
        for item in body.get("line_items", [])
    ]
    for item in items:
        context.get_or_404("products", "product", item["product_id"])
    if "amount" not in body and not _items_price(context, items):
        raise conflict("nothing_to_pay", "the products of line_items cost nothing; give an amount")
    link_id = new_id("link")
    context.db.insert(
        "checkout_links",
        id=link_id,
        merchant_id=context.merchant_id,
        link_name=body["link_name"],
        payment_name=body["payment_name"],
        amount=decimal_text(body.get("amount")),
        description=body.get("description"),
        line_items=dumps(items),
        image_ids=dumps(body.get("image_ids", [])),
        image_url=body.get("image_url"),
        status=body.get("status", "active"),
        created_at=context.now_text,
    )
    row = context.get_or_404("checkout_links", "checkout link", link_id)
    serialized = {"id": row["id"], "url": f"{context.origin}/pay/{row['id']}", "status": row["status"]}
    context.record_event("checkout_link.created", link_id, {**serialized, "link_name": body["link_name"]})
    return serialized


def line_items(link: Row) -> list[dict[str, Any]]:
    """`product_id` and `quantity` of each item of a link.

    Args:
        link: the checkout link.
    """
    items: list[dict[str, Any]] = loads(link["line_items"].encode())
    return items


def link_price(context: MerchantContext, link: Row) -> Decimal:
    """What the payer has to pay: the link's amount; without one, the sum of its items.

    Args:
        context: the merchant.
        link: the checkout link.
    """
    return Decimal(link["amount"]) if link["amount"] is not None else _items_price(context, line_items(link))


def _items_price(context: MerchantContext, items: list[dict[str, Any]]) -> Decimal:
    products = [context.get_or_404("products", "product", item["product_id"]) for item in items]
    return total(
        Decimal(product["amount"] or 0) * item["quantity"] for product, item in zip(products, items, strict=True)
    )


# Files


@operation("upload_file")
def upload_file(context: MerchantContext) -> Any:
    """POST /files."""
    part = context.part
    if part is None:
        raise invalid("send multipart/form-data with the file in a part named `file`")
    file_id = new_id("file")
    context.db.insert(
        "files",
        id=file_id,
        merchant_id=context.merchant_id,
        name=part.name,
        type=part.type,
        size=len(part.content),
        content=part.content,
        created_at=context.now_text,
    )
    serialized = {
        "id": file_id,
        "url": f"{context.origin}/files/{file_id}",
        "name": part.name,
        "size": len(part.content),
        "type": part.type,
    }
    context.record_event("file.created", file_id, serialized)
    return serialized
