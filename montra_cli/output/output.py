"""`Output`: prints results in the format that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any, Literal

from ..cleaning import clean_lines
from ..failures import USAGE, CliError
from .encoding import csv_line, to_json
from .text import plain

Format = Literal["table", "plain", "json", "jsonl", "csv"]
Row = Mapping[str, Any]


class Output:
    """Prints results.

    Args:
        as_json: JSON, indented.
        as_jsonl: one JSON object per line.
        as_csv: comma-separated values.
        csv_raw: leave what a spreadsheet would take for a formula as it is.
        columns: names of fields, separated by commas; None for all.
        header: whether plain lines and CSV begin with the names of the columns.

    Raises:
        CliError: more than one format, or no column.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        as_jsonl: bool = False,
        as_csv: bool = False,
        csv_raw: bool = False,
        columns: str | None = None,
        header: bool = True,
    ) -> None:
        if as_json + as_jsonl + as_csv > 1:
            raise CliError("--json, --jsonl, --csv: give one of them", USAGE)
        self.format: Format = (
            "json" if as_json else "jsonl" if as_jsonl else "csv" if as_csv or csv_raw else _for_reader()
        )
        self._raw = csv_raw
        self._columns = None if columns is None else [one.strip() for one in columns.split(",") if one.strip()]
        if self._columns == []:  # an empty variable of a shell
            raise CliError("--columns: name some, separated by commas", USAGE)
        self._header = header

    @property
    def is_for_people(self) -> bool:
        """Whether tables are printed: a terminal, and no format was asked for."""
        return self.format == "table"

    def rows(self, rows: Iterable[Row], columns: Sequence[str] = (), *, empty: str = "Nothing found.") -> None:
        """Print a list of objects, each as soon as it is there unless a table is printed.

        Args:
            rows: the objects.
            columns: their fields in order; those of the first object by default.
            empty: what people read when there are none.

        Raises:
            CliError: the option names a column that there is not; before anything is printed.
        """
        self._print_rows(self._checked(rows, columns), columns, empty)

    def one(self, fields: Row, columns: Sequence[str] = ()) -> None:
        """Print one object.

        Args:
            fields: its fields.
            columns: fields it may have. Lines and CSV have them all, in this order, whatever the object has.

        Raises:
            CliError: `columns` of the options names none of them.
        """
        whole: Row = {**dict.fromkeys(columns), **fields}
        self.check_columns(whole)
        if self.format == "csv":
            self._print_rows([fields], list(whole))
        elif self.format == "jsonl":
            self._print_rows([fields], list(fields))
        elif self.format == "json":
            self._write(to_json(self._chosen(fields), indent=2) + "\n")
        elif self.format == "plain":
            for name, value in self._chosen(whole).items():
                self._write(f"{plain(name)}\t{plain(value)}\n" if self._header else f"{plain(value)}\n")
        else:
            from .tables import print_object

            print_object(self._chosen(fields))

    def without_columns(self) -> Output:
        """The same output without `--columns`, for what is printed below an object that has other fields."""
        other = copy(self)
        other._columns = None
        return other

    def check_columns(self, known: Collection[str]) -> None:
        """Refuse `--columns` with a name that there is not.

        Args:
            known: the names that there are.

        Raises:
            CliError: there is no such column.
        """
        unknown = [one for one in self._columns or () if one not in known]
        if unknown:
            raise CliError(f"--columns: no {', '.join(unknown)}; there are: {', '.join(known)}", USAGE)

    def value(self, value: Any) -> None:
        """Print a text, number or other JSON value.

        Args:
            value: the value.
        """
        is_json = self.format in ("json", "jsonl") or isinstance(value, (dict, list))
        self._write((to_json(value, indent=2 if self.format == "json" else None) if is_json else plain(value)) + "\n")

    def note(self, text: str) -> None:
        """Tell people something, on stderr, so that it is never a part of the result.

        Args:
            text: lines of text.
        """
        print(clean_lines(text), file=sys.stderr, flush=True)

    def _print_rows(self, rows: Iterable[Row], columns: Sequence[str], empty: str = "") -> None:
        if self.format == "table":
            listed = list(rows)
            if not listed:
                self.note(empty)
                return
            from .tables import print_table

            print_table(listed, self._columns or columns or list(listed[0]), chosen=self._columns is not None)
        elif self.format == "json":
            self._json_array(rows)
        elif self.format == "jsonl":
            for row in rows:
                self._write(to_json(self._chosen(row)) + "\n")
        else:
            self._lines(iter(rows), columns)

    def _checked(self, rows: Iterable[Row], columns: Sequence[str]) -> Iterable[Row]:
        """The rows, once the first, or all if they are there already, have shown that the chosen columns exist."""
        if self._columns is None:
            return rows
        if isinstance(rows, list):
            seen = rows
        else:
            rows = iter(rows)
            seen = [one for one in [next(rows, None)] if one is not None]
            rows = chain(seen, rows)
        known = dict.fromkeys([*columns, *(name for row in seen for name in row)])
        if known:
            self.check_columns(known)
        return rows

    def _chosen(self, row: Row) -> Row:
        return row if self._columns is None else {name: row.get(name) for name in self._columns}

    def _json_array(self, rows: Iterable[Row]) -> None:
        first = True
        for row in rows:
            text = to_json(self._chosen(row), indent=2).replace("\n", "\n  ")
            self._write(("[\n  " if first else ",\n  ") + text)
            first = False
        self._write("[]\n" if first else "\n]\n")

    def _lines(self, rows: Iterator[Row], columns: Sequence[str]) -> None:
        first = next(rows, None)
        names = self._columns or list(columns or (first or {}))
        if self._header and names:
            self._write(self._line(names))
        for row in _with(first, rows):
            self._write(self._line([row.get(name) for name in names]))

    def _line(self, values: Sequence[Any]) -> str:
        if self.format == "csv":
            return csv_line(values, raw=self._raw, one_line=sys.stdout.isatty())
        return "\t".join(plain(value) for value in values) + "\n"

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)


def _with(first: Row | None, rest: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield first
        yield from rest


def _for_reader() -> Format:
    """Tables for a terminal, else lines."""
    return "table" if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else "plain"
