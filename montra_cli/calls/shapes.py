"""What the catalog says of a call. Plain tuples: they are read at every start."""

from __future__ import annotations

from typing import NamedTuple


class Parameter(NamedTuple):
    """A parameter of a call.

    Attributes:
        name: its name in Python, and with hyphens that of its option.
        kind: `text`, `flag`, `whole`, `number`, `date`, `datetime`, `id`, `object`, `texts`, `objects`, `file` or
            `files`; says how its text is read.
        help: documentation.
        positional: whether it is an argument, not an option.
        required: whether the call can't be made without it.
        clearable: whether the field can be cleared.
        choices: known values; others are accepted.
    """

    name: str
    kind: str
    help: str
    positional: bool = False
    required: bool = False
    clearable: bool = False
    choices: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """The name of its option."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_list(self) -> bool:
        """Whether its option may be repeated."""
        return self.kind in ("texts", "objects", "files", "object")


class Call(NamedTuple):
    """A call.

    Attributes:
        client: `montra` or `paywall`.
        method: name of the client's method.
        summary: one line.
        description: further paragraphs; empty for none.
        endpoint: method and path of HTTP; empty when the documentation names none.
        parameters: in the order of the signature.
        result: the annotation of the result; `iter[Model]` for an iterator.
        columns: fields of the result's model, by their names in JSON.
        asks: the question before a call that takes something away; None for other calls.
        example: a command line.
    """

    client: str
    method: str
    summary: str
    description: str
    endpoint: str
    parameters: tuple[Parameter, ...]
    result: str
    columns: tuple[str, ...]
    asks: str | None
    example: str
