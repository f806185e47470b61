"""Labels and descriptions in the requested language. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.options import header_text
from ..core.type_guards import is_object
from .models import Bootstrap, Offer, Price

Item = TypeVar("Item", Price, Offer)

_MAX_LENGTH = 1_000
"""Characters of an `Accept-Language` header. It is sent, and is a part of cache keys."""


def validated_language(parameter: str, value: Any) -> str | None:
    """A language tag, or a whole `Accept-Language` header.

    Raises:
        InvalidArgumentError: it can't be sent in a header, or is longer than 1,000 characters.
    """
    language = header_text(parameter, validation.optional_text(parameter, value))
    if language is not None and not (language.isascii() and len(language) <= _MAX_LENGTH):
        raise InvalidArgumentError(parameter, f"languages are written in ASCII, in at most {_MAX_LENGTH} characters")
    return language


def localized(bootstrap: Bootstrap, locale: str | None) -> Bootstrap:
    """The bootstrap with the labels and descriptions of the first language that the paywall has texts for.

    The order is: the exact tag, its base language, the paywall's default language.

    `bootstrap.locales` has the shape
    `{"de": {"prices": {"<id>": {"label", "description"}}, "offers": {"<id>": {"label"}}}}`.
    """
    texts = _texts(bootstrap.locales or {}, locale, bootstrap.settings.locale_default)
    if texts is None:
        return bootstrap
    return attrs.evolve(
        bootstrap,
        prices=[_translated(price, texts, "prices") for price in bootstrap.prices],
        offers=[_translated(offer, texts, "offers") for offer in bootstrap.offers],
    )


def _texts(locales: Mapping[str, Any], locale: str | None, default: str | None) -> Mapping[str, Any] | None:
    by_tag = {tag.lower().replace("_", "-"): texts for tag, texts in locales.items()}
    for tag in candidates(locale, default):
        if is_object(texts := by_tag.get(tag)):
            return texts
    return None


def candidates(locale: str | None, default: str | None) -> list[str]:
    """The language tags to look up, in order: `pt-BR` with the default `en` gives pt-br, pt, en.

    Args:
        locale: a language tag or an `Accept-Language` header.
        default: the paywall's default language.
    """
    tags: list[str] = []
    for language in [*preferred(locale or ""), *([default] if default else [])]:
        tag = language.lower().replace("_", "-")
        tags += [tag, tag.partition("-")[0]]
    return list(dict.fromkeys(tags))


def preferred(accept_language: str) -> list[str]:
    """The languages of an `Accept-Language` header by descending quality value. Malformed values count as 1."""
    weighted: list[tuple[float, str]] = []
    for part in accept_language.split(","):
        tag, _, parameters = part.partition(";")
        weight = parameters.strip().removeprefix("q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 1.0
        if tag.strip() not in ("", "*") and quality > 0:
            weighted.append((-quality, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]


def _translated(item: Item, texts: Mapping[str, Any], kind: str) -> Item:
    """A price or an offer with its label and description from `texts`."""
    group: Any = texts.get(kind)
    texts_of_item = group.get(item.id) if is_object(group) else None
    if not is_object(texts_of_item):
        return item
    changes: dict[str, Any] = {
        name: text
        for name, text in texts_of_item.items()
        if name in ("label", "description") and isinstance(text, str) and hasattr(item, name)
    }
    return attrs.evolve(item, **changes)
