"""Members from a file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing
from itertools import accumulate, islice
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import CSV, JSON_LINES, PARQUET, arrow, delimiter_of, format_of, reading, reading_text
from airflow_provider_cij.sources.base import ROWS, InThread, position_of, texts

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

_LINE_END = re.compile(r"\r\n|\r|\n")
_BUFFER = 1 << 20


class FromFile:
    """Members from a column of a file: CSV, JSON lines or Parquet.

    :param path: a path, or a URL that Airflow's ``ObjectStoragePath`` opens (templated)
    :param column: the column's header, or its number from 0 in a CSV file without a header. Default None, the only
        column, or the one named ``contactid``, ``leadid`` or ``id`` (templated)
    :param format: ``csv``, ``jsonl`` (an object a line) or ``parquet`` (needs the extra ``parquet``). Default None, by
        the file's name: ``.jsonl``, ``.ndjson``, ``.json`` or ``.parquet``, otherwise CSV. Text may be gzipped, ``.gz``
    :param delimiter: the character between columns of a CSV file. Default None, a comma, or a tab in ``.tsv``
    :param encoding: the text's encoding; default ``utf-8-sig``, UTF-8 with or without a byte order mark
    """

    template_fields = ("path", "column")

    def __init__(
        self,
        path: str,
        column: str | int | None = None,
        *,
        format: str | None = None,  # noqa: A002
        delimiter: str | None = None,
        encoding: str = "utf-8-sig",
    ) -> None:
        if format not in (None, CSV, JSON_LINES, PARQUET):
            raise CijInputError(f"format is {format!r}.", hint="Give csv, jsonl or parquet.")
        self.path = path
        self.column = column
        self.format = format
        self.delimiter = delimiter
        self.encoding = encoding

    def __repr__(self) -> str:
        return f"FromFile({str(self.path)!r}, column={self.column!r})"

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their line numbers (in a Parquet file the rows' numbers), and the values.

        :param client: the task's open client; not used
        :raises CijInputError: there is no such file or column, or the file has another format; the error names file
            and line
        :raises CijError: the file can't be read to its end
        """
        async with aclosing(InThread(self._pages(), "FromFile")) as pages:
            async for chunk in pages:
                yield chunk

    def _pages(self) -> Generator[Chunk, None, None]:
        path = str(self.path)
        form = self.format or format_of(path)
        try:
            if form == PARQUET:
                with reading(path) as file:
                    yield from self._parquet(file)
                return
            with reading_text(path, self.encoding) as text:
                yield from self._csv(text) if form == CSV else self._json_lines(text)
        except CijError:
            raise
        except Exception as error:  # raised by any library that reads it, such as an object store's
            reason = f"{type(error).__name__}: {error}"
            raise CijError(f"The file {path!r} can't be read to its end: {reason}.") from None

    def _csv(self, text: IO[str]) -> Iterator[Chunk]:
        delimiter = self.delimiter or delimiter_of(str(self.path))
        try:
            # Strict: a stray quote would swallow all rows up to the next one, silently.
            reader = csv.reader(text, delimiter=delimiter, strict=True)
        except (TypeError, ValueError) as error:
            raise CijInputError(f"delimiter is {delimiter!r}: {error}.") from None
        try:
            yield from self._csv_rows(reader)
        except csv.Error as error:
            raise self._broken(reader.line_num, str(error)) from None

    def _csv_rows(self, reader: Any) -> Iterator[Chunk]:
        if isinstance(self.column, int):
            position = self.column
            if position < 0:
                raise CijInputError(f"{self.path}: column is {position}.", hint="Columns are counted from 0.")
        else:
            header = [name.strip() for name in next(filter(None, reader), [])]
            position = position_of(header, self.column, str(self.path))
        last = reader.line_num
        while rows := list(islice(reader, ROWS)):
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

    def _json_lines(self, text: IO[str]) -> Iterator[Chunk]:
        numbered = ((line, row) for line, row in enumerate(text, 1) if not row.isspace())
        column = self.column
        while part := [(line, self._object(line, row)) for line, row in islice(numbered, ROWS)]:
            if not isinstance(column, str):
                names = list(part[0][1])
                column = names[position_of(names, column, str(self.path))]
            # An object may leave out a field that is empty.
            yield [line for line, _ in part], texts(row.get(column) for _, row in part)

    def _object(self, line: int, text: str) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise self._broken(line, f"{error.msg} at character {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise self._broken(line, f"{type(error).__name__}") from None
        if not isinstance(row, dict):
            raise self._broken(line, "no JSON object")
        return row

    def _parquet(self, file: IO[bytes]) -> Iterator[Chunk]:
        pyarrow, first = arrow(), 1
        try:
            # By buffers: a row group may be all of the file, and a column of it would be read at once.
            parquet = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            names = parquet.schema_arrow.names
            column = names[position_of(names, self.column, str(self.path))]
            for batch in parquet.iter_batches(ROWS, columns=[column], use_threads=False):
                yield range(first, first + len(batch)), texts(batch.column(0).to_pylist())
                first += len(batch)
        except (pyarrow.ArrowException, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
            if getattr(error, "errno", None):  # an error of the disk, not of the file
                raise
            raise self._broken(first, str(error)) from None

    def _broken(self, line: int, what: str) -> CijInputError:
        return CijInputError(f"{self.path}, line {line}: {what}. Nothing was sent.")


def _last_lines(rows: list[list[str]], first: int) -> list[int]:
    """Return the number of each row's last line, as Python's reader counts, where rows go over several lines."""
    spans = (1 + sum(len(_LINE_END.findall(field)) for field in row) for row in rows)
    return list(accumulate(spans, initial=first - 1))[1:]
