"""Objects of JSON files: an object a line, objects over several lines, or one array of objects. Read piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any

from airflow_provider_cij.dataverse.values import kind_of
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import ROWS

_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
_PIECE = 1 << 16
_LONGEST = 128 * 1024 * 1024
# An error so close to the end of what is read may be that a value is cut there, such as "-Infin" or "\u00".
_CUT = 16


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError
    return found


class _RepeatedKeyError(Exception):
    pass


_scan = json.JSONDecoder(object_pairs_hook=_object).raw_decode


class JsonRows:
    """Reads the objects of a JSON file.

    :param text: the open file, with invalid bytes as ``surrogateescape`` decodes them
    :param where: the file's path, for errors
    :param encoding: the file's encoding, for errors
    """

    def __init__(self, text: IO[str], where: str, encoding: str) -> None:
        self._text = text
        self._where = where
        self._encoding = encoding
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._column = 0  # characters of the line that are no longer in the buffer
        self._ended = False

    def pages(self) -> Iterator[tuple[Sequence[int], list[dict[str, Any]]]]:
        """Yield the objects with the lines that they begin on.

        :raises CijInputError: the file is no JSON, or a value is no object; the error names the line
        """
        objects, first = self._objects(), True
        while part := list(islice(objects, ROWS)):
            if first and len(part) == 1:
                self._check_lone(*part[0])
            first = False
            yield [line for line, _ in part], [row for _, row in part]

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        sign = self._next_sign()
        in_array = sign == "["
        if in_array:
            self._move(self._at + 1)
            sign = self._next_sign()
        first = True
        while sign and not (in_array and sign == "]"):
            if in_array and not first:
                if sign != ",":
                    raise self._broken("Expecting ',' or ']'", self._at)
                self._move(self._at + 1)
                self._next_sign()
            line, row = self._line, self._value()
            if not isinstance(row, dict):
                kind = kind_of(row)
                raise self._refused(line, f"no JSON object, but {kind}", 'Write rows as {"contactid": "…"}.')
            yield line, row
            first, sign = False, self._next_sign()
        if in_array:
            if not sign:
                raise self._broken("the array is not closed: the file is cut off", self._at)
            self._move(self._at + 1)
            if self._next_sign():
                raise self._broken("there is more after the end of the array", self._at)

    def _value(self) -> Any:
        """Return the value that begins here, and move to its end."""
        while True:
            try:
                value, end = _scan(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._buffer) - _CUT or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    raise self._broken(error.msg, error.pos) from None
            except _RepeatedKeyError:
                raise self._refused(self._line, "an object has the same key twice") from None
            except (ValueError, RecursionError) as error:
                raise self._refused(self._line, type(error).__name__) from None
            else:
                if end < len(self._buffer) or self._ended or isinstance(value, dict):
                    self._move(end)
                    return value
            self._read()

    def _next_sign(self) -> str:
        """Move to the next character that is no white space, and return it; ``""`` at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._move(found.end() if found else self._at)
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._read()

    def _move(self, to: int) -> None:
        self._line += self._buffer.count("\n", self._at, to)
        self._at = to

    def _read(self) -> None:
        """Read on, twice as much as lies before, so that a long value is not scanned often."""
        before = self._buffer.rfind("\n", 0, self._at)
        self._column = self._at - before - 1 if before >= 0 else self._column + self._at
        rest = self._buffer[self._at :]
        if len(rest) > _LONGEST:
            hint = "Write an array of objects, or an object a line."
            raise self._refused(self._line, f"one value of more than {_LONGEST:,} characters", hint)
        piece = self._text.read(max(_PIECE, len(rest)))
        self._ended = not piece
        self._buffer, self._at = rest + piece, 0
        if not piece.isascii() and (bad := _UNDECODED.search(self._buffer)):
            line = self._line + self._buffer.count("\n", 0, bad.start())
            hint = "Give the file's encoding, such as encoding='cp1252'."
            raise self._refused(line, f"bytes that are no {self._encoding}", hint)

    def _check_lone(self, line: int, row: dict[str, Any]) -> None:
        lists = [
            name for name, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        if lists:
            names = ", ".join(map(repr, lists))
            hint = "Write that list alone into the file, or an object a line."
            raise self._refused(line, f"one object, which holds the rows in its field {names}", hint)

    def _broken(self, what: str, position: int) -> CijInputError:
        before = self._buffer.rfind("\n", 0, position)
        column = position - before if before >= 0 else self._column + position + 1
        line = self._line + self._buffer.count("\n", self._at, position)
        return self._refused(line, f"{what} at character {column}")

    def _refused(self, line: int, what: str, hint: str = "") -> CijInputError:
        return CijInputError(f"{self._where}, line {line}: {what}. Nothing was sent.", hint=hint)
