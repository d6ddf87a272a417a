"""Members, or whole rows, from a file."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Sequence
from typing import IO, Any, TypeVar

from airflow_provider_cij._unpacking import check_text, unpacked
from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import CSV, JSON_LINES, PARQUET, arrow, decoding, delimiter_of, format_of, reading
from airflow_provider_cij.sources.base import ROWS, PlainSource, Shape, Streaming, shaped_objects

T = TypeVar("T")

_BUFFER = 1 << 20


class FromFile(PlainSource, Streaming):
    r"""Members from a column of a file, or its whole rows: CSV, JSON or Parquet.

    Text may be compressed with gzip, or be the one file of a zip: that is seen in its first bytes. Lines count from 1;
    in a Parquet file they are the rows' numbers.

    :param path: a path, or a URL that Airflow's ``ObjectStoragePath`` opens (templated)
    :param column: the column's header, or its number from 0 in a CSV file without a header. Default None, the only
        column, or the one named ``contactid``, ``leadid`` or ``id`` (templated)
    :param format: ``csv``, ``jsonl`` (JSON: an object a line, or an array of objects) or ``parquet`` (needs the extra
        ``parquet``). Default None, by the file's name: ``.jsonl``, ``.ndjson``, ``.json`` or ``.parquet``, otherwise
        CSV
    :param delimiter: the character between columns of a CSV file. Default None, the one that its first line names
        (``sep=;``), or else a tab in ``.tsv`` and a comma in other files
    :param quote: the character around texts of a CSV file that may hold delimiters and line ends; ``""`` when quotes
        are characters as others are. Default a double quote
    :param escape: the character before a quote within a quoted text, such as ``"\\"`` in files of Spark and MySQL.
        Default None, a quote within is doubled
    :param encoding: the text's encoding, such as ``cp1252`` or ``utf-16``; default ``utf-8-sig``, UTF-8 with or without
        a byte order mark
    :raises CijInputError: an argument can't be right
    """

    template_fields = ("path", "column")
    plain_key = "file"

    def __init__(
        self,
        path: str,
        column: str | int | None = None,
        *,
        format: str | None = None,  # noqa: A002
        delimiter: str | None = None,
        quote: str = '"',
        escape: str | None = None,
        encoding: str = "utf-8-sig",
    ) -> None:
        if format not in (None, CSV, JSON_LINES, PARQUET):
            raise CijInputError(f"format is {format!r}.", hint="Give csv, jsonl or parquet.")
        self.path = path
        self.column = column
        self.format = format
        self.delimiter = delimiter
        self.quote = quote
        self.escape = escape
        self.encoding = encoding
        self._check()

    def __repr__(self) -> str:
        return f"FromFile({str(self.path)!r}, column={self.column!r})"

    def _check(self) -> None:
        known: dict[str, str] = {}
        for name in ("delimiter", "quote", "escape"):
            character = getattr(self, name)
            if character is None or (name == "quote" and character == ""):
                continue
            if not isinstance(character, str) or len(character) != 1 or character in "\r\n":
                raise CijInputError(f"{name} is {character!r}.", hint="Give one character; a tab is '\\t'.")
            if character in known:
                raise CijInputError(f"{name} is {character!r}, and so is {known[character]}.", hint="Give another.")
            known[character] = name

    def _where(self) -> str:
        return str(self.path)

    def _pages(self, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        path = str(self.path)
        try:
            with reading(path) as raw, unpacked(path, raw) as (name, file):
                form = self.format or format_of(name)
                if form == PARQUET:
                    if file is not raw:
                        raise CijInputError(f"The file {path!r} is compressed Parquet.", hint="Decompress it.")
                    yield from self._parquet(file, shape)
                    return
                check_text(path, file)
                # Bytes that are invalid in the encoding must not stop ids: they matter in a column that is read.
                with decoding(path, file, self.encoding, "surrogateescape") as text:
                    yield from self._csv(text, delimiter_of(name), shape) if form == CSV else self._json(text, shape)
        except CijError:
            raise
        except UnicodeError as error:
            hint = "Give the file's encoding."
            raise CijInputError(f"The file {path!r} can't be read as {self.encoding}: {error}.", hint=hint) from None
        except Exception as error:  # raised by any library that reads it, such as an object store's
            reason = f"{type(error).__name__}: {error}"
            raise CijError(f"The file {path!r} can't be read to its end: {reason}.") from None

    def _csv(self, text: IO[str], default: str, shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        from airflow_provider_cij.sources._csv import CsvRows

        rows = CsvRows(
            text,
            self._where(),
            column=self.column,
            delimiter=self.delimiter,
            default=default,
            quote=self.quote,
            escape=self.escape,
            encoding=self.encoding,
        )
        return rows.pages(shape)

    def _json(self, text: IO[str], shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        from airflow_provider_cij.sources._json import JsonRows

        return shaped_objects(shape, JsonRows(text, self._where(), self.encoding).pages())

    def _parquet(self, file: IO[bytes], shape: Shape[T]) -> Iterator[tuple[Sequence[int], list[T]]]:
        pyarrow, first = arrow(), 1
        try:
            # By buffers: a row group may be all of the file, and a column of it would be read at once.
            parquet = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            all_names = parquet.schema_arrow.names
            names = [all_names[place] for place in shape.select(all_names)]
            if not parquet.metadata.num_row_groups:  # older versions of pyarrow ask for group -1 then
                return
            for batch in parquet.iter_batches(ROWS, columns=names, use_threads=False):
                columns = [_plain(pyarrow, batch.column(name)) for name in names]
                lines = range(first, first + len(batch))
                yield lines, shape.shaped(lines, names, columns)
                first += len(batch)
        except (pyarrow.ArrowException, ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
            if getattr(error, "errno", None):  # an error of the disk, not of the file
                raise
            raise CijInputError(f"{self.path}, line {first}: {error}. Nothing was sent.") from None


def _plain(pyarrow: Any, column: Any) -> list[Any]:
    """Return the values of a column of Arrow. The type of 16 bytes of fixed size is that of a UUID."""
    types = pyarrow.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_timestamp(column.type) and column.type.unit == "ns":  # datetime holds microseconds
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    if types.is_fixed_size_binary(column.type) and column.type.byte_width == 16:
        return [value if value is None else uuid.UUID(bytes=value) for value in values]
    return values
