"""Where members come from. Every source streams, and knows the line of what it gives.

A source has ``chunks(client)``, which gives some rows at a time as their line numbers and what stands where an id
should. ``client`` is the open client of the task, for a source that reads from the organisation itself.
"""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, runtime_checkable

from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.api.intake import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

_ROWS = 1000
_LINE_END = re.compile(r"\r\n|\r|\n")


@runtime_checkable
class Source(Protocol):
    """Anything that gives members."""

    def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Give the rows, some at a time."""


class FromValues:
    """Members given as they are: a list, a set, a generator.

    :param values: ids, or rows of one column as SQL operators give them; lines count from 1
    """

    def __init__(self, values: Iterable[object]) -> None:
        self.values = values

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Give the rows, some at a time."""
        values, first = iter(self.values), 1
        while part := list(islice(values, _ROWS)):
            if isinstance(part[0], (list, tuple)):
                part = [row[0] if isinstance(row, (list, tuple)) and len(row) == 1 else row for row in part]
            yield range(first, first + len(part)), part
            first += len(part)

    def __repr__(self) -> str:
        # Shown as the rendered template: how many, never who.
        return f"{len(self.values)} values" if isinstance(self.values, Sequence) else type(self.values).__name__


class FromFile:
    """Members from a column of a CSV file.

    :param path: where the file is: a path, or a URL that Airflow's ``ObjectStoragePath`` opens (templated)
    :param column: the column's header, or its number from 0 in a file without a header (templated). By default the
        only column, or the one named like an id: ``contactid``, ``leadid``, ``id``
    :param delimiter: between columns
    :param encoding: a byte order mark is skipped
    """

    template_fields = ("path", "column")

    def __init__(
        self, path: str, column: str | int | None = None, *, delimiter: str = ",", encoding: str = "utf-8-sig"
    ) -> None:
        self.path = path
        self.column = column
        self.delimiter = delimiter
        self.encoding = encoding

    def __repr__(self) -> str:
        return f"FromFile({str(self.path)!r}, column={self.column!r})"

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Give the rows, some at a time.

        :raises CijInputError: there is no such file or column, or it is no CSV; the error names file and line
        """
        with open_text(str(self.path), self.encoding) as file:
            # Strict: a stray quote would swallow all rows up to the next one, silently.
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            try:
                for chunk in self._chunks(reader):
                    yield chunk
            except csv.Error as error:
                raise CijInputError(f"{self.path}, line {reader.line_num}: {error}. Nothing was sent.") from None

    def _chunks(self, reader: Any) -> Iterator[Chunk]:
        if isinstance(self.column, int):
            position = self.column
        else:
            header = [name.strip() for name in next(filter(None, reader), [])]
            position = self._position(header)
        last = reader.line_num
        while rows := list(islice(reader, _ROWS)):
            lines: Sequence[int] = range(last + 1, reader.line_num + 1)
            last = reader.line_num
            if len(lines) > len(rows):
                lines = _last_lines(rows, lines[0])
            if [] in rows:  # a blank line is no row
                numbered = [(line, row) for line, row in zip(lines, rows, strict=True) if row]
                lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
            try:
                yield lines, [row[position] for row in rows]
            except IndexError:  # a row too short has nothing where the id should be
                yield lines, [row[position] if position < len(row) else "" for row in rows]

    def _position(self, header: list[str]) -> int:
        wanted = self.column
        if wanted is None:
            usual = [name for name in header if name.lower() in ("contactid", "leadid", "id")]
            wanted = header[0] if len(header) == 1 else usual[0] if len(usual) == 1 else None
        if wanted in header:
            return header.index(wanted)
        what = "which column holds the ids is not clear" if self.column is None else f"there is no column {wanted!r}"
        raise CijInputError(f"{self.path}: {what}. Its columns: {', '.join(map(repr, header)) or 'none'}.")


def _last_lines(rows: list[list[str]], first: int) -> list[int]:
    """Give each row the number of its last line, as Python's reader does, where some go over several."""
    spans = (1 + sum(len(_LINE_END.findall(field)) for field in row) for row in rows)
    return list(accumulate(spans, initial=first - 1))[1:]


def open_text(path: str, encoding: str) -> IO[str]:
    """Open a local file or an object for reading.

    :param path: a path, or a URL such as ``s3://bucket/members.csv``
    :param encoding: bytes that are not of it become U+FFFD: a name in another encoding must not stop the ids
    :raises CijInputError: it can't be opened
    """
    try:
        if "://" in path:
            from airflow.sdk import ObjectStoragePath

            path_there: Any = ObjectStoragePath(path)
            opened: IO[str] = path_there.open(encoding=encoding, errors="replace", newline="")
            return opened
        return Path(path).open(encoding=encoding, errors="replace", newline="")
    except (OSError, LookupError, ValueError, ImportError) as error:
        raise CijInputError(f"The file {path!r} can't be opened: {error}.") from None


def as_source(members: Any) -> Any:
    """Make a source of a list or the like; leave a source, a template and what Airflow has yet to resolve alone."""
    plain = isinstance(members, Iterable) and not isinstance(members, (str, bytes, dict, Source))
    return FromValues(members) if plain and not hasattr(members, "resolve") else members


def checked(members: Any) -> Source:
    """Give the source that members have become.

    :raises CijInputError: they are none
    """
    if isinstance(members, Source):
        return members
    raise CijInputError(
        f"members is a {type(members).__name__}.", hint="Give a list of ids, another task's output, or FromFile(…)."
    )
