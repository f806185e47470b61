"""Pure: labels and descriptions in the language that was asked for."""

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


_LONGEST = 1_000  # characters of what a browser may want


def checked_language(parameter: str, value: Any) -> str | None:
    """A language tag, or a whole `Accept-Language` header: it is sent in one, and kept in the keys of what is kept."""
    wanted = header_text(parameter, validation.optional_text(parameter, value))
    if wanted is not None and not (wanted.isascii() and len(wanted) <= _LONGEST):
        raise InvalidArgumentError(parameter, f"languages are written in ASCII, in at most {_LONGEST} characters")
    return wanted


def localized(bootstrap: Bootstrap, locale: str | None) -> Bootstrap:
    """The overrides of the first language that there are any for: the exact tag, its base, the paywall's default.

    `locales` has the shape `{"de": {"prices": {"<id>": {"label", "description"}}, "offers": {"<id>": {"label"}}}}`.
    """
    chosen = _chosen(bootstrap.locales or {}, locale, bootstrap.settings.locale_default)
    if chosen is None:
        return bootstrap
    return attrs.evolve(
        bootstrap,
        prices=[_translated(one, chosen, "prices") for one in bootstrap.prices],
        offers=[_translated(one, chosen, "offers") for one in bootstrap.offers],
    )


def _chosen(locales: Mapping[str, Any], locale: str | None, default: str | None) -> Mapping[str, Any] | None:
    by_tag = {tag.lower().replace("_", "-"): texts for tag, texts in locales.items()}
    for tag in candidates(locale, default):
        if is_object(found := by_tag.get(tag)):
            return found
    return None


def candidates(locale: str | None, default: str | None) -> list[str]:
    """`pt-BR` and a default of `en` give pt-br, pt, en. Of a whole `Accept-Language`, its languages in their order."""
    found: list[str] = []
    for wanted in [*preferred(locale or ""), *([default] if default else [])]:
        tag = wanted.lower().replace("_", "-")
        found += [tag, tag.partition("-")[0]]
    return list(dict.fromkeys(found))


def preferred(accept_language: str) -> list[str]:
    """The languages of an `Accept-Language` header, the most wanted first. Never fails."""
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
    return [tag for _, tag in sorted(weighted, key=lambda one: one[0])]


def _translated(item: Item, texts: Mapping[str, Any], kind: str) -> Item:
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
