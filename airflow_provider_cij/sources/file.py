"""Members from a file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate, islice
from typing import IO, Any, TypeVar

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import CSV, JSON_LINES, PARQUET, arrow, delimiter_of, format_of, reading, reading_text
from airflow_provider_cij.sources.base import ROWS, Shape, Streaming, WholeRows, shaped_objects

T = TypeVar("T")

_LINE_END = re.compile(r"\r\n|\r|\n")
_BUFFER = 1 << 20


class FromFile(Streaming):
    """Members from a column of a file, or its whole rows: CSV, JSON lines or Parquet.

    Lines count from 1; in a Parquet file they are the rows' numbers.

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

    def _where(self) -> str:
        return str(self.path)

    def _pages(self, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        path = str(self.path)
        form = self.format or format_of(path)
        try:
            if form == PARQUET:
                with reading(path) as file:
                    yield from self._parquet(file, shape)
                return
            with reading_text(path, self.encoding) as text:
                yield from self._csv(text, shape) if form == CSV else shaped_objects(shape, self._json_lines(text))
        except CijError:
            raise
        except Exception as error:  # raised by any library that reads it, such as an object store's
            reason = f"{type(error).__name__}: {error}"
            raise CijError(f"The file {path!r} can't be read to its end: {reason}.") from None

    def _csv(self, text: IO[str], shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        delimiter = self.delimiter or delimiter_of(str(self.path))
        try:
            # Strict: a stray quote would swallow all rows up to the next one, silently.
            reader = csv.reader(text, delimiter=delimiter, strict=True)
        except (TypeError, ValueError) as error:
            raise CijInputError(f"delimiter is {delimiter!r}: {error}.") from None
        try:
            yield from self._csv_rows(reader, shape)
        except csv.Error as error:
            raise self._broken(reader.line_num, str(error)) from None

    def _csv_rows(self, reader: Any, shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        if isinstance(self.column, int):
            if self.column < 0:
                raise CijInputError(f"{self.path}: column is {self.column}.", hint="Columns are counted from 0.")
            if isinstance(shape, WholeRows):
                raise CijInputError(f"{self!r}: a file without a header has no whole rows.", hint="Write a header.")
            names, places = [""], [self.column]
        else:
            header = [name.strip() for name in next(filter(None, reader), [])]
            places = shape.select(header)
            names = [header[place] for place in places]
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
                columns: list[list[object]] = [[row[place] for row in rows] for place in places]
            except IndexError:  # a row too short has nothing there
                columns = [[row[place] if place < len(row) else None for row in rows] for place in places]
            yield lines, shape.shaped(names, columns)

    def _json_lines(self, text: IO[str]) -> Iterator[tuple[Sequence[int], list[dict[str, Any]]]]:
        numbered = ((line, row) for line, row in enumerate(text, 1) if not row.isspace())
        while part := [(line, self._object(line, row)) for line, row in islice(numbered, ROWS)]:
            yield [line for line, _ in part], [row for _, row in part]

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

    def _parquet(self, file: IO[bytes], shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        pyarrow, first = arrow(), 1
        try:
            # By buffers: a row group may be all of the file, and a column of it would be read at once.
            parquet = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            all_names = parquet.schema_arrow.names
            names = [all_names[place] for place in shape.select(all_names)]
            for batch in parquet.iter_batches(ROWS, columns=names, use_threads=False):
                columns = [batch.column(name).to_pylist() for name in names]
                yield range(first, first + len(batch)), shape.shaped(names, columns)
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
