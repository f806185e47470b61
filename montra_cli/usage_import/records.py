"""Reads the lines of a CSV or JSONL file of usage. What is wrong with a line is told, and the others are read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any, Literal

from ..failures import USAGE, CliError
from ..json_types import exact_json, exact_number, is_object, refuse_deep
from ..output.encoding import to_json
from ..output.text import count_of

Format = Literal["csv", "jsonl"]

MAX_LINE = 1024 * 1024
AMOUNT_DIGITS = 64
"""Amounts are below 1e64 and, unless 0, at least 1e-64: the SDK sends no others."""
FIELDS = ("customer_id", "meter_slug", "amount", "metadata", "idempotency_key")
OWN_COLUMNS = ("line", "error", "raw_line")
"""What a file of rejects has in addition; ignored, so that its fields can be corrected and imported."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NO_CELLS: list[str] = []
_SURROGATE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as `surrogateescape` reads it."""
_HALF = re.compile("[\ud800-\udfff]")
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Usage:
    """A line that can be sent.

    Attributes:
        customer_id: `cust_...`.
        meter_slug: slug of the meter.
        amount: number of units.
        metadata: JSON object; None without any.
        idempotency_key: key of its own; None without one.
    """

    customer_id: str
    meter_slug: str
    amount: int | Decimal
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None


@dataclass(frozen=True)
class Record:
    """A line of the file.

    Attributes:
        number: 1, 2, 3, ... among the records.
        line: number of its first line in the file.
        raw: its fields as they are in the file.
        usage: what is to be sent; None if it is wrong.
        problem: what is wrong with it; empty for nothing.
        text: the line as it is in the file if its fields don't tell it; empty otherwise.
    """

    number: int
    line: int
    raw: Mapping[str, Any]
    usage: Usage | None
    problem: str = ""
    text: str = ""


@dataclass(frozen=True)
class _Row:
    """The fields of a line, before they are looked at."""

    line: int
    raw: Mapping[str, Any]
    problem: str = ""
    text: str = ""


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    Attributes:
        format: `csv` or `jsonl`.
        delimiter: between the fields of CSV.
        names: for each field, the name it has in the file, if it is another one.
        meter: the meter of all lines without one; None for none.
        ignore_unknown: whether unknown fields are ignored; they are an error otherwise.
    """

    format: Format
    delimiter: str = ","
    names: Mapping[str, str] | None = None
    meter: str | None = None
    ignore_unknown: bool = False

    def name_of(self, field: str) -> str:
        """The name of a field in the file.

        Args:
            field: the field.
        """
        return (self.names or {}).get(field, field)


def read_records(file: IO[bytes], layout: Layout) -> Iterator[Record]:
    """Yields the records of a file.

    Args:
        file: the file, at its beginning.
        layout: how it is read.

    Raises:
        CliError: the file as a whole can't be read: a line that is too long, no header, unknown columns, a quotation
            mark that hides the lines behind it.
    """
    rows = _csv_rows(file, layout) if layout.format == "csv" else _json_rows(file)
    for number, row in enumerate(rows, 1):
        if row.problem:
            yield Record(number, row.line, row.raw, None, row.problem, row.text)
            continue
        try:
            yield Record(number, row.line, row.raw, _usage(row.raw, layout))
        except ValueError as error:
            # A reject that could not be parsed, whose text was corrected instead of its fields.
            hint = "; raw_line is not read: fill in the fields themselves" if row.raw.get("raw_line") else ""
            yield Record(number, row.line, row.raw, None, f"{error}{hint}")


def key_of(record: Record, import_id: str) -> str:
    """The idempotency key of a record: its own, or one that is the same in each import of the same file.

    Args:
        record: a record that can be sent.
        import_id: identifies the file and its content.
    """
    assert record.usage is not None
    if record.usage.idempotency_key is not None:
        return record.usage.idempotency_key
    content = f"{import_id}\n{record.number}\n{to_json(dict(record.raw))}"
    return f"import-{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _lines(file: IO[bytes]) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise CliError(f"line {number} is longer than 1 MiB: is it a CSV or JSONL file?", USAGE)
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if number == 1 else text


def _csv_rows(file: IO[bytes], layout: Layout) -> Iterator[_Row]:
    csv.field_size_limit(MAX_LINE)
    taken: list[str] = []
    reader = csv.reader(_noted(_lines(file), taken), delimiter=layout.delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, _NO_CELLS)]
    except csv.Error as error:
        raise CliError(f"the first line is not CSV: {error}", USAGE) from None
    _check_header(header, layout)
    while True:
        taken.clear()
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse_several(line, taken, layout, str(error))
            yield _Row(line, dict.fromkeys(header, ""), f"not CSV: {error}", _text_of(taken))
            continue
        if not cells:
            continue
        if len(cells) != len(header):  # nobody knows which field is missing, so that none may be imported again
            counts = f"{count_of(len(cells), 'field')} instead of {len(header)}"
            _refuse_several(line, taken, layout, counts)
            yield _Row(line, dict.fromkeys(header, ""), counts, _text_of(taken))
        else:
            yield _Row(line, dict(zip(header, cells, strict=True)), _undecodable(cells))


def _noted(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _text_of(taken: list[str]) -> str:
    return "".join(taken).rstrip("\r\n")


def _refuse_several(line: int, taken: list[str], layout: Layout, problem: str) -> None:
    """Refuse the file if a wrong record has several lines: usually a quotation mark makes them one by mistake.

    To refuse that record alone would hide the lines behind the mark; to read them as records could count what is a
    text in quotation marks.
    """
    if len(taken) > 1:
        opened = line + _bad_quote("".join(taken), layout.delimiter)
        raise CliError(
            f"line {opened}: a quotation mark opens here, and what it encloses, up to line {line + len(taken) - 1},"
            f" can't be read: {problem}. Nothing is sent",
            USAGE,
            "Close the quotation mark, double it if it belongs to the text, or remove it.",
        )


def _bad_quote(text: str, delimiter: str) -> int:
    """How many lines are before the quotation mark that opens the first field that is wrong, else the last one."""
    end = re.escape(delimiter)
    field = re.compile(rf'(?:("[^"]*(?:""[^"]*)*")|[^"{end}\r\n][^{end}\r\n]*)?(?:{end}|\r?\n|$)')
    position, opened = 0, 0
    while position < len(text) and (found := field.match(text, position)):
        opened = position if found[1] else opened
        position = found.end()
    return text.count("\n", 0, position if position < len(text) else opened)


def _check_header(header: list[str], layout: Layout) -> None:
    if not header:
        raise CliError("the file is empty: CSV begins with the names of the columns", USAGE)
    needed = [layout.name_of("customer_id"), *([] if layout.meter else [layout.name_of("meter_slug")])]
    if missing := [name for name in needed if name not in header]:
        raise CliError(
            f"the first line has no column {', '.join(missing)}",
            USAGE,
            "Columns: customer_id, meter_slug, amount, idempotency_key, metadata (JSON) or metadata.NAME."
            " Other names: --column customer_id=customer.",
        )
    if len(set(header)) != len(header):
        raise CliError("the first line has a column twice", USAGE)
    unknown = [name for name in header if not _is_known(name, layout)]
    if unknown and not layout.ignore_unknown:
        raise CliError(f"unknown columns: {', '.join(unknown)}", USAGE, "--ignore-unknown ignores them.")


def _json_rows(file: IO[bytes]) -> Iterator[_Row]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            found = exact_json(line)
        except ValueError as error:
            yield _Row(number, {}, _not_json(error), line.rstrip("\r\n"))
            continue
        if not is_object(found):
            yield _Row(number, {}, "not a JSON object", line.rstrip("\r\n"))
        else:
            yield _Row(number, found, _undecodable([line]) or _halved(line, found))


def _not_json(error: ValueError) -> str:
    """What is wrong; of a syntax error only that it is one: its message has the line of this line, always 1."""
    return "not JSON" if isinstance(error, json.JSONDecodeError) else f"not JSON that can be sent: {error}"


def _undecodable(texts: list[str]) -> str:
    return "not UTF-8" if any(_SURROGATE.search(text) for text in texts) else ""


def _halved(text: str, value: Any) -> str:
    """What is wrong with parsed JSON that has half a surrogate pair in it."""
    is_halved = "\\u" in text and _HALF.search(json.dumps(value, ensure_ascii=False, default=str))
    return "half a surrogate pair, which can't be sent" if is_halved else ""


def _is_known(name: str, layout: Layout) -> bool:
    known = {layout.name_of(field) for field in FIELDS}
    return name in known or name in OWN_COLUMNS or name.startswith("metadata.")


def _usage(raw: Mapping[str, Any], layout: Layout) -> Usage:
    unknown = [] if layout.ignore_unknown else [name for name in raw if not _is_known(name, layout)]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}")
    given = {field: raw.get(layout.name_of(field)) for field in FIELDS}
    key = given["idempotency_key"]
    if key in (None, ""):
        key = None
    elif not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError("idempotency_key: 1 to 255 printable ASCII characters without spaces")
    return Usage(
        customer_id=_text("customer_id", given["customer_id"]),
        meter_slug=_text("meter_slug", given["meter_slug"] or layout.meter),
        amount=_amount(given["amount"]),
        metadata=_metadata(given["metadata"], raw),
        idempotency_key=key,
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: missing")
    return value.strip()


def _amount(value: Any) -> int | Decimal:
    if value is None or value == "":
        return 1
    number = _number(value)
    if number is None or number < 0:
        raise ValueError("amount: a number, at least 0")
    if number != 0 and not -AMOUNT_DIGITS <= Decimal(number).adjusted() < AMOUNT_DIGITS:
        raise ValueError(f"amount: below 1e{AMOUNT_DIGITS} and, unless 0, at least 1e-{AMOUNT_DIGITS}")
    return number


def _number(value: Any) -> int | Decimal | None:
    if isinstance(value, str):
        try:
            return exact_number(value.strip())
        except ValueError:
            return None
    return value if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else None


def _metadata(value: Any, raw: Mapping[str, Any]) -> dict[str, Any] | None:
    parts = {name.removeprefix("metadata."): cell for name, cell in raw.items() if name.startswith("metadata.")}
    parts = {name: cell for name, cell in parts.items() if cell not in (None, "")}
    if isinstance(value, str) and value.strip():
        try:
            text, value = value, exact_json(value)
            refuse_deep({"metadata": value})  # as it is sent
        except ValueError as error:
            raise ValueError(f"metadata: {_not_json(error)}") from None
        if problem := _halved(text, value):
            raise ValueError(f"metadata: {problem}")
    if value not in (None, "") and not is_object(value):
        raise ValueError("metadata: a JSON object")
    found = {**(value if is_object(value) else {}), **parts}
    return found or None


def reject_lines(rejects: Iterator[tuple[Record, str]], layout: Layout) -> Iterator[bytes]:
    """The lines of a file of rejects: what was in the file, with the line and the error. It can be imported again.

    A line that has no such fields is there in full, as `raw_line`, and is refused again until its fields are given.

    Args:
        rejects: the records, and what is wrong with each.
        layout: how the file was read; rejects have the same format.
    """
    header: list[str] | None = None
    for record, problem in rejects:
        text = {"raw_line": record.text} if record.text else {}
        fields = {**record.raw, "line": record.line, "error": problem, **text}
        if layout.format == "jsonl":
            written = _UNWRITABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", to_json(fields))
            yield f"{written}\n".encode("utf-8", "surrogateescape")
            continue
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=layout.delimiter)
        if header is None:
            header = [*(name for name in record.raw if name not in OWN_COLUMNS), *OWN_COLUMNS]
            writer.writerow(header)
        writer.writerow([fields.get(name, "") for name in header])
        yield buffer.getvalue().encode("utf-8", "surrogateescape")
