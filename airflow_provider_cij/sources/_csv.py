"""Rows of CSV files, in the dialects that people have."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec
from itertools import accumulate, chain, islice
from typing import IO, Any, TypeVar

from airflow_provider_cij.dataverse.guids import parse_guid
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import ROWS, Shape, WholeRows

T = TypeVar("T")

_LINE_END = re.compile(r"\r\n|\r|\n")
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
# What "surrogateescape" makes of bytes that are invalid in the file's encoding.
_UNDECODED = re.compile("[\udc80-\udcff]")
# As the largest file column of Dataverse: a quote that is never closed must not read all of a file into memory.
_LONGEST_FIELD = 128 * 1024 * 1024
_DIALECT = "Give quote, escape or delimiter as the file is written, such as escape='\\\\' where quotes are \\\" in it."


@cache
def _reading() -> Any:
    """Return a second instance of the module behind ``csv``, with a field limit of its own.

    The limit of 131,072 characters is one for a whole process, and other code in it may rely on it.
    """
    spec = find_spec("_csv")
    if not spec or not spec.loader:  # every CPython has it
        raise ImportError("_csv")
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(_LONGEST_FIELD)
    return module


class CsvRows:
    """Reads the rows of a CSV file.

    :param text: the open file, with its line ends, and with invalid bytes as ``surrogateescape`` decodes them
    :param where: the file's path, for errors
    :param column: the column that holds the ids; a number means that the file has no header
    :param delimiter: the character between columns; None for ``default``, unless the file says it in a line ``sep=;``
    :param default: the delimiter by the file's name: a tab for ``.tsv``, otherwise a comma
    :param quote: the character around texts; ``""`` for none
    :param escape: the character before a quote within a text; None where it is doubled
    :param encoding: the file's encoding, for errors
    """

    def __init__(
        self,
        text: IO[str],
        where: str,
        *,
        column: str | int | None,
        delimiter: str | None,
        default: str,
        quote: str,
        escape: str | None,
        encoding: str,
    ) -> None:
        self._where = where
        self._column = column
        self._encoding = encoding
        self._given = delimiter is not None
        first = text.readline().removeprefix("\ufeff")  # before a quote it would be a part of the value
        told = _SEPARATOR.fullmatch(first)
        self._delimiter = delimiter or (told[1] if told else default)
        self._before = 1 if told else 0
        how: dict[str, Any] = {"delimiter": self._delimiter, "escapechar": escape}
        how |= {"quotechar": quote} if quote else {"quotechar": None, "quoting": csv.QUOTE_NONE}
        self._module = _reading()
        # Strict: a stray quote would swallow all rows up to the next one, silently.
        self._reader = self._module.reader(text if told else chain([first], text), strict=True, **how)

    def pages(self, shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        """Yield the rows in the shape that is asked for.

        :param shape: the shape
        :raises CijInputError: a row or the header is not as the arguments say; the error names the line
        """
        pages = self._rows()
        lines, rows = next(pages, ((), []))
        if isinstance(self._column, int):
            names, places, width = [""], [self._number(lines, rows, shape)], 0
        else:
            header = [trimmed(name) for name in rows[0]] if rows else []
            places = self._select(lines[0] if lines else 1, header, shape)
            names, width = [header[place] for place in places], len(header)
            lines, rows = lines[1:], rows[1:]
        for lines, rows in chain([(lines, rows)], pages):  # noqa: B020
            if width and len(max(rows, key=len, default=())) > width:
                self._check_width(lines, rows, width)
            try:
                columns: list[list[str | None]] = [[row[place] for row in rows] for place in places]
            except IndexError:  # a row too short has nothing there; no text is a null, as no quotes tell them apart
                missing = None if isinstance(shape, WholeRows) else ""
                columns = [[row[place] if place < len(row) else missing for row in rows] for place in places]
            for name, column in zip(names, columns, strict=True):
                self._check_decoded(lines, name, column)
            yield lines, shape.shaped(lines, names, columns)

    def _rows(self) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
        """Yield the fields of the rows with the rows' last lines. A blank line is no row."""
        last = self._before
        while True:
            rows: list[list[str]] = []
            try:
                rows.extend(islice(self._reader, ROWS))  # rows before an error are kept: they tell its line
            except self._module.Error as error:
                raise self._unreadable([last, *_last_lines(rows, last + 1)][-1] + 1, str(error)) from None
            if not rows:
                return
            now = self._before + self._reader.line_num
            lines: Sequence[int] = range(last + 1, now + 1)
            if len(lines) > len(rows):
                lines = _last_lines(rows, lines[0])
            last = now
            if [] in rows:
                numbered = [(line, row) for line, row in zip(lines, rows, strict=True) if row]
                lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
            if rows:
                yield lines, rows

    def _number(self, lines: Sequence[int], rows: list[list[str]], shape: Shape[T]) -> int:
        if not isinstance(self._column, int) or self._column < 0:
            raise CijInputError(f"{self._where}: column is {self._column}.", hint="Columns are counted from 0.")
        if isinstance(shape, WholeRows):
            raise CijInputError(f"{self._where}: a file without a header has no whole rows.", hint="Write a header.")
        if rows and len(rows[0]) == 1 and not self._given:
            self._check_single(lines[0], "first row", rows[0][0], ";\t|")
        return self._column

    def _select(self, line: int, header: list[str], shape: Shape[T]) -> list[int]:
        if len(header) == 1 and header[0] != self._column:
            self._check_single(line, "header", header[0], _DELIMITERS)
            if self._column is None and _is_value(header[0]):
                raise CijInputError(
                    f"{self._where}, line {line}: this first row is no header, but holds a value.",
                    hint="Give column=0 for a file without a header.",
                )
        try:
            return shape.select(header)
        except CijInputError as error:
            joined = "".join(header)
            if _UNDECODED.search(joined) or "\0" in joined:
                error.hint = f"Its header is no {self._encoding}: give encoding, such as 'cp1252' or 'utf-16'."
            elif any(character in joined for character in _DELIMITERS):
                error.hint = error.hint or "Is delimiter the character between its columns?"
            raise

    def _check_single(self, line: int, what: str, text: str, delimiters: str) -> None:
        found = next(
            (character for character in delimiters if character in text and character != self._delimiter), None
        )
        if found:
            raise CijInputError(
                f"{self._where}, line {line}: read with the delimiter {self._delimiter!r}, the {what} is one column, "
                f"which has {found!r} in it.",
                hint=f"Give delimiter={found!r} if columns are separated by it.",
            )

    def _check_width(self, lines: Sequence[int], rows: list[list[str]], width: int) -> None:
        for line, row in zip(lines, rows, strict=True):
            if any(row[width:]):
                raise CijInputError(
                    f"{self._where}, line {line}: {len(row):,} fields, and the header has {width:,}. Nothing was sent.",
                    hint=_DIALECT,
                )

    def _check_decoded(self, lines: Sequence[int], name: str, column: Sequence[str | None]) -> None:
        if "".join(filter(None, column)).isascii():
            return
        for line, value in zip(lines, column, strict=True):
            if value and _UNDECODED.search(value):
                what = f"column {name!r}" if name else f"column {self._column}"
                raise CijInputError(
                    f"{self._where}, line {line}: {what} has bytes that are no {self._encoding}. Nothing was sent.",
                    hint="Give the file's encoding, such as encoding='cp1252'.",
                )

    def _unreadable(self, line: int, said: str) -> CijInputError:
        now = self._before + self._reader.line_num
        reached = f" (read on to line {now})" if now > line else ""
        if said == "unexpected end of data":
            said = "a quote that opens in this row is never closed"
        elif said.startswith("field larger"):
            said = (
                f"a text that begins in this row has more than {_LONGEST_FIELD:,} characters. Is a quote never closed"
            )
        elif "expected after" in said:
            said = "a quote within a quoted text is neither doubled nor escaped"
        return CijInputError(f"{self._where}, line {line}: {said}{reached}. Nothing was sent.", hint=_DIALECT)


def _is_value(name: str) -> bool:
    """Return whether a header is rather the first of the values: an id, an address or a number."""
    return "@" in name or bool(parse_guid(name)) or not any(map(str.isalpha, name))


def _last_lines(rows: list[list[str]], first: int) -> list[int]:
    """Return the number of each row's last line, as Python's reader counts, where rows go over several lines."""
    spans = (1 + sum(len(_LINE_END.findall(field)) for field in row) for row in rows)
    return list(accumulate(spans, initial=first - 1))[1:]
