"""Files of rows, read and written: on a local path, or in any store that Airflow's ``ObjectStoragePath`` reaches."""

from __future__ import annotations

import asyncio
import codecs
import csv
import gzip
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, TypeVar

from airflow_provider_cij._placing import atomic_write, why_not_writable
from airflow_provider_cij._unpacking import unpacked
from airflow_provider_cij.errors import CijError, CijInputError

T = TypeVar("T")

CSV, JSON_LINES, PARQUET = "csv", "jsonl", "parquet"
_FORMATS = {
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".json-lines": JSON_LINES,
    ".parquet": PARQUET,
}
# Names that no CSV file has, and what to do. Any other unknown name is CSV.
_UNKNOWN = (
    dict.fromkeys((".avro", ".db", ".feather", ".orc", ".sqlite"), "")
    | dict.fromkeys((".ods", ".xls", ".xlsb", ".xlsm", ".xlsx"), " Save a workbook as CSV (UTF-8).")
    | dict.fromkeys((".7z", ".bz2", ".xz", ".zst"), " Decompress it, or compress it with gzip.")
)
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_PARQUET_ROWS = 50_000
_OBJECT_STORES = {"abfs", "abfss", "az", "gcs", "gs", "s3", "s3a"}


def format_of(path: str) -> str:
    """Return a file's format, by its name. A text may be gzipped (``.csv.gz``).

    :param path: a path or a URL
    :return: ``CSV``, ``JSON_LINES`` or ``PARQUET``; CSV for a name without a known ending
    :raises CijInputError: the format is one that is neither read nor written
    """
    suffix = _suffix(path)
    found = _FORMATS.get(suffix, CSV)
    if suffix in _UNKNOWN or (found == PARQUET and _gzipped(path)):
        hint = f"Give .csv, .tsv, .jsonl or .parquet.{_UNKNOWN.get(suffix, '')}"
        raise CijInputError(f"The file {path!r} is of no known format.", hint=hint)
    return found


def delimiter_of(path: str) -> str:
    """Return the delimiter of a CSV file, by its name: a tab for ``.tsv``, otherwise a comma.

    :param path: a path or a URL
    """
    return "\t" if _suffix(path) == ".tsv" else ","


def _gzipped(path: str) -> bool:
    return path.lower().endswith(".gz")


def _suffix(path: str) -> str:
    return PurePosixPath(path.lower().removesuffix(".gz")).suffix


def _local(path: str) -> Path | None:
    scheme, found, rest = path.partition("://")
    if not found:
        return Path(path)
    return Path(rest) if scheme in ("file", "local") else None


def asset_uri(path: str) -> str:
    """Return the URI of a file's asset: without the Airflow connection that an object store's URL may name.

    :param path: a path, or a URL such as ``s3://conn_id@bucket/members.csv``
    """
    if local := _local(path):
        return local.absolute().as_uri()
    scheme, _, rest = path.partition("://")
    bucket, slash, key = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{key}"


def _object(path: str) -> tuple[Any, str]:
    """Return Airflow's file system for a URL, and the path in it. This blocks, and may run an event loop.

    :raises CijInputError: the kind of store is unknown or not installed
    :raises CijError: the store can't be reached at present
    """
    try:
        from airflow.sdk import ObjectStoragePath

        there = ObjectStoragePath(path)
        return there.fs, there.path
    except (ValueError, ImportError) as error:
        raise CijInputError(f"The store of {path!r} is not known: {error}.") from None
    except Exception as error:  # such as a connection that can't be read from Airflow: another try may succeed
        raise CijError(f"The store of {path!r} can't be opened: {type(error).__name__}: {error}.") from None


@asynccontextmanager
async def outside(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager in a thread, outside the running event loop.

    Use it for what may block or run a loop of its own, such as opening an object store.

    :param manager: a context manager that was not entered yet
    :return: what the manager returns, for one ``async with``
    """
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        if not await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Open a file or an object for reading, for one ``with``.

    :param path: a path, or a URL such as ``s3://bucket/members.csv``
    :raises CijInputError: there is no such file, or it is no regular file
    :raises CijError: the file can't be opened or read at present
    """
    local = _local(path)
    try:
        if local:
            if local.exists() and not (local.is_file() or local.is_dir()):
                raise CijInputError(f"The file {path!r} can't be read: it is a device, a pipe or a socket.")
            file: IO[bytes] = local.open("rb")
        else:
            store, key = _object(path)
            file = store.open(key, "rb")
    except CijError:
        raise
    except Exception as error:
        # A store answers "permission denied" also when its credential has just expired: another try may succeed.
        known = (*_NOT_THERE, PermissionError, ValueError) if local else _NOT_THERE
        if isinstance(error, known):
            raise CijInputError(f"The file {path!r} can't be opened: {error}.") from None
        raise CijError(f"The file {path!r} can't be opened: {type(error).__name__}: {error}.") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise CijError(f"The file {path!r} can't be read to its end: {error}.") from None


@contextmanager
def reading_text(path: str, encoding: str) -> Iterator[IO[str]]:
    """Open a text file for reading, decompressed, with its line ends unchanged.

    :param path: a path, or a URL such as ``s3://bucket/members.csv.gz``
    :param encoding: the text's encoding
    :raises CijInputError: there is no such file, its compression is damaged or not read, or it has another encoding
    :raises CijError: the file can't be opened or read at present
    """
    with reading(path) as raw, unpacked(path, raw) as (_, file), decoding(path, file, encoding) as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            raise CijInputError(f"The file {path!r} can't be read: {error}.", hint="Give its encoding.") from None


# The first bytes of a text that says in which encoding it is written.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)


@contextmanager
def decoding(path: str, file: IO[bytes], encoding: str, errors: str = "strict") -> Iterator[IO[str]]:
    """Decode an open file, with its line ends unchanged.

    :param path: the file's path, for errors
    :param file: the file, open for reading
    :param encoding: the text's encoding
    :param errors: what becomes of bytes that are invalid in it, as ``open`` takes it; default ``strict``, an exception
    :raises CijInputError: the encoding is unknown, or the file's byte order mark is that of another one
    """
    try:
        known = codecs.lookup(encoding).name
        text = TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    except (LookupError, TypeError) as error:
        raise CijInputError(f"The file {path!r} can't be read: {error}.", hint="Give another encoding.") from None
    head = file.read(4)
    file.seek(0)
    told = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if told and not known.startswith(told):
        raise CijInputError(
            f"The file {path!r} can't be read as {encoding}: it begins with the byte order mark of {told.upper()}.",
            hint=f"Give encoding='{told}'.",
        )
    with text:
        yield text


class Writer(Protocol):
    """A file that is open for writing rows."""

    def write(self, rows: Sequence[str] | Sequence[tuple[object, ...]]) -> None:
        """Append rows.

        :param rows: strings for a file of one column, otherwise tuples; None is an empty value
        """


def check_writable(path: str | None) -> None:
    """Check that ``writing`` can write to a path, as far as that can be found out without writing.

    :param path: a path or a URL; ``.csv``, ``.tsv`` or ``.parquet``. None needs no check
    :raises CijInputError: there is no such folder, store or format, or the path is a folder
    """
    if path is None:
        return
    if _suffix(path) == ".zip":
        raise CijInputError(f"The file {path!r} is of no known format to write.", hint="Give .csv.gz or .parquet.")
    if format_of(path) == JSON_LINES:
        raise CijInputError(f"The file {path!r} would be JSON.", hint="Give .csv or .parquet.")
    if local := _local(path):
        if reason := why_not_writable(local):
            hint = "Give a file's name." if reason == "it is a folder" else ""
            raise CijInputError(f"The file {path!r} can't be written: {reason}.", hint=hint)
    else:
        _object(path)
    if path.endswith("/"):
        raise CijInputError(f"The file {path!r} can't be written: it is a folder.", hint="Give a file's name.")
    if format_of(path) == PARQUET:
        arrow()


@contextmanager
def writing(path: str, columns: Sequence[str]) -> Iterator[Writer]:
    """Open a CSV or Parquet file, by its name, for writing rows.

    The file appears when the ``with`` ends without an exception, whole and replacing an older one. Otherwise nothing
    is written.

    :param path: a path, or a URL such as ``s3://bucket/members.csv``
    :param columns: the columns' names
    :return: the open file, for one ``with``
    :raises CijInputError: there is no such folder, store or format, or the path is a folder
    :raises CijError: the file could not be written
    """
    check_writable(path)
    try:
        with _destination(path) as file, _writer(path, file, columns) as writer:
            yield writer
    except OSError as error:
        raise not_written(path, error) from error


@asynccontextmanager
async def writing_if_given(path: str | None, columns: Sequence[str]) -> AsyncIterator[Writer | None]:
    """Open a file as ``writing`` does, outside the running event loop.

    :param path: a path or a URL; None opens no file
    :param columns: the columns' names
    :return: the open file, for one ``async with``; None without a path
    """
    if path is None:
        yield None
        return
    async with outside(writing(path, columns)) as file:
        yield file


def not_written(path: str, error: Exception) -> CijError:
    """Return the error for a file that was not written.

    :param path: the file
    :param error: the exception of the library that wrote it
    """
    said = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return CijError(f"The file {path!r} was not written: {said}.")


@contextmanager
def _destination(path: str) -> Iterator[IO[bytes]]:
    """Open a temporary file, and move or upload it to its place at the end."""
    if target := _local(path):
        with atomic_write(target) as file:
            yield file
        return
    # A file without a name: no other process can open it, and it is gone even when this one is killed.
    with tempfile.TemporaryFile(prefix="cij-") as spool:
        yield spool
        spool.flush()
        spool.seek(0)
        store, key = _object(path)
        try:
            _upload(store, f"/dev/fd/{spool.fileno()}", key)
        except Exception as error:  # of any library behind a store
            said = f"{type(error).__name__}: {error}"
            raise CijError(f"The file {path!r} was not written: {said}.") from error


def _upload(store: Any, source: str, key: str) -> None:
    """Copy a local file into a store, where it appears whole or not at all.

    An object appears when its upload is complete. Other stores, such as SFTP, show a file from its first byte: there it
    is written beside its name and renamed.
    """
    protocols = {store.protocol} if isinstance(store.protocol, str) else {*store.protocol}
    if protocols & _OBJECT_STORES:
        store.put_file(source, key)
        return
    part = f"{key}.{uuid.uuid4().hex}.part"
    try:
        store.put_file(source, part)
        store.mv(part, key)
    except BaseException:
        with suppress(Exception):  # such as that the part was never made
            store.rm_file(part)
        raise


@contextmanager
def _writer(path: str, file: Any, columns: Sequence[str]) -> Iterator[Writer]:
    if format_of(path) == PARQUET:
        with _Parquet(path, file, columns) as parquet:
            yield parquet
            parquet.flush()
        return
    with ExitStack() as stack:
        if _gzipped(path):
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="wb", filename=""))
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        stack.callback(text.detach)  # otherwise it would close the file
        yield _Csv(path, text, columns)


class _Csv:
    def __init__(self, path: str, text: IO[str], columns: Sequence[str]) -> None:
        delimiter = delimiter_of(path)
        self._path, self._text = path, text
        self._single_column = len(columns) == 1
        self._special = (delimiter, '"', "\r")
        self._rows = csv.writer(_Lines(text), delimiter=delimiter)
        self._rows.writerow(columns)

    def write(self, rows: Sequence[Any]) -> None:
        """Append rows."""
        try:
            self._write(rows)
        except (csv.Error, TypeError, ValueError) as error:
            raise not_written(self._path, error) from None

    def _write(self, rows: Sequence[Any]) -> None:
        if not self._single_column:
            self._rows.writerows(rows)
            return
        lines = "\n".join(rows)
        if lines.count("\n") >= len(rows) or "" in rows or any(character in lines for character in self._special):
            self._rows.writerows((row,) for row in rows)
        elif rows:  # ids: nothing to quote
            self._text.write(f"{lines}\n")


class _Lines:
    """Ends rows with a bare line feed. As its own ``lineterminator``, Python 3.11 would not quote a carriage return."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def write(self, row: str) -> None:
        """Write a row of ``csv.writer``, which ends in a carriage return and a line feed."""
        self._text.write(f"{row[:-2]}\n")


class _Parquet:
    def __init__(self, path: str, file: Any, columns: Sequence[str]) -> None:
        self._path, self._arrow = path, arrow()
        self._schema = self._arrow.schema([(column, self._arrow.string()) for column in columns])
        self._file = self._arrow.parquet.ParquetWriter(file, self._schema)
        self._rows: list[Any] = []

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Sequence[str] | Sequence[tuple[object, ...]]) -> None:
        """Append rows. They are buffered into row groups of 50,000 rows or more, not one a call."""
        self._rows += rows
        if len(self._rows) >= _PARQUET_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        if not self._rows:
            return
        columns = [self._rows] if len(self._schema) == 1 else zip(*self._rows, strict=True)
        texts = [[value if value is None else str(value) for value in column] for column in columns]
        try:
            self._file.write_table(self._arrow.table(texts, schema=self._schema))
        except (self._arrow.ArrowException, TypeError, ValueError) as error:
            if isinstance(error, OSError):  # a failure of the disk
                raise
            raise not_written(self._path, error) from None
        self._rows = []


def arrow() -> Any:
    """Import pyarrow, which reads and writes Parquet.

    :return: the module ``pyarrow``
    :raises CijInputError: pyarrow is not installed
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise CijInputError("Parquet needs pyarrow.", hint="pip install 'airflow-provider-cij[parquet]'") from None
    return pyarrow
