"""Models in notebooks: `table(models)`, and lists of models as tables with `%load_ext montra_async.notebook`.

A single model shows itself as a table, analytics as a chart, without any of this. What is shown is escaped and bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from .core.models.html import models_table
from .core.models.model import Model
from .core.type_guards import is_array


@attrs.frozen
class Table:
    """Models as a table. A notebook shows it; `html` is its source.

    Attributes:
        html: an HTML `<table>`.
    """

    html: str = attrs.field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def table(models: Iterable[Model]) -> Table:
    """Show models as a table with one row each, e.g. `table(await montra.list_customers())`.

    Args:
        models: the models. All are counted; the first 100 are shown, with at most 12 columns.

    Raises:
        TypeError: something else.
    """
    return Table(models_table(_checked(models)))


def _checked(models: Any) -> Iterator[Model]:
    """The models, each of them checked when it is taken."""
    if not isinstance(models, Iterable):
        raise TypeError(f"table takes models, e.g. table(await montra.list_customers()), not {type(models).__name__}")
    for model in models:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(model, Model):
            kind = type(model).__name__  # pyright: ignore[reportUnknownArgumentType]
            raise TypeError(f"table takes models, e.g. table(await montra.list_customers()), not {kind}")
        yield model


def load_ipython_extension(shell: Any) -> None:
    """Show every list of models as a table: `%load_ext montra_async.notebook`.

    Args:
        shell: IPython's shell.
    """
    shell.display_formatter.formatters["text/html"].for_type(list, _html_of)


def unload_ipython_extension(shell: Any) -> None:
    """Show lists as before.

    Args:
        shell: IPython's shell.
    """
    shell.display_formatter.formatters["text/html"].pop(list, None)


def _html_of(value: Any) -> str | None:
    """The table of a list of models; None for any other list, which IPython then shows as text."""
    if not is_array(value) or not value or not all(isinstance(one, Model) for one in value):
        return None
    return models_table(value)
