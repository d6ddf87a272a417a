"""Files of members, read and written: on a local path, or wherever Airflow's ``ObjectStoragePath`` leads."""

from __future__ import annotations

import csv
import gzip
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from airflow_provider_cij.errors import CijError, CijInputError

CSV, JSON_LINES, PARQUET = "csv", "jsonl", "parquet"
_FORMATS = {
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".json-lines": JSON_LINES,
    ".parquet": PARQUET,
}
# Nobody means text by these names. A name that says nothing is CSV.
_UNKNOWN = {".avro", ".bz2", ".db", ".feather", ".ods", ".orc", ".sqlite", ".xls", ".xlsx", ".xz", ".zip", ".zst"}
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PARQUET_ROWS = 50_000


def format_of(path: str) -> str:
    """Tell a file's format by its name; ``.gz`` behind that of a text is gzip.

    :raises CijInputError: it is one that nobody here reads or writes
    """
    suffix = _suffix(path)
    found = _FORMATS.get(suffix, CSV)
    if suffix in _UNKNOWN or (found == PARQUET and _gzipped(path)):
        raise CijInputError(f"The file {path!r} is of no known format.", hint="Give .csv, .tsv, .jsonl or .parquet.")
    return found


def delimiter_of(path: str) -> str:
    """Tell what stands between the columns of a CSV file by its name."""
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


def _object(path: str) -> tuple[Any, str]:
    """Give the file system that Airflow has for a URL, and the path within."""
    from airflow.sdk import ObjectStoragePath

    there = ObjectStoragePath(path)
    return there.fs, there.path


@contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Open a file or an object for one ``with``.

    :param path: a path, or a URL such as ``s3://bucket/members.csv``
    :raises CijInputError: it can't be opened
    """
    try:
        if local := _local(path):
            file: IO[bytes] = local.open("rb")
        else:
            store, key = _object(path)
            file = store.open(key, "rb")
    except (*_NOT_THERE, ValueError, ImportError) as error:
        raise CijInputError(f"The file {path!r} can't be opened: {error}.") from None
    except Exception as error:  # the disk's trouble, or of whatever library reaches the store: another try may mend it
        raise CijError(f"The file {path!r} can't be opened: {type(error).__name__}: {error}.") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise CijError(f"The file {path!r} can't be read to its end: {error}.") from None


@contextmanager
def reading_text(path: str, encoding: str) -> Iterator[IO[str]]:
    """Open a text, gzipped when it is named ``.gz``, with its line ends as they are.

    :param path: as in ``reading``
    :param encoding: bytes that are not of it become U+FFFD: a name in another encoding must not stop the ids
    :raises CijInputError: it can't be opened, or is no gzip
    """
    with reading(path) as raw:
        try:
            unzipped: Any = gzip.GzipFile(fileobj=raw) if _gzipped(path) else raw
            with TextIOWrapper(unzipped, encoding=encoding, errors="replace", newline="") as text:
                yield text
        except (LookupError, UnicodeError) as error:
            raise CijInputError(f"The file {path!r} can't be read: {error}.") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CijInputError(f"The file {path!r} is no whole gzip file: {error}. Nothing was sent.") from None


class Writer(Protocol):
    """A file that is being written."""

    def write(self, rows: Sequence[str] | Sequence[tuple[object, ...]]) -> None:
        """Append rows.

        :param rows: strings where there is one column, otherwise tuples; None is nothing
        """


def check_writable(path: str) -> None:
    """Refuse a path that ``writing`` can't write to, as far as can be told without writing.

    :raises CijInputError: no such folder, store or format, or it is a folder
    """
    if format_of(path) == JSON_LINES:
        raise CijInputError(f"The file {path!r} would be JSON.", hint="Give .csv or .parquet.")
    local = _local(path)
    if local is None:
        try:
            _object(path)
        except (ValueError, ImportError) as error:
            raise CijInputError(f"The file {path!r} can't be written: {error}.") from None
    elif trouble := _no_name(local):
        raise CijInputError(f"The file {path!r} can't be written: {trouble}.")
    elif not local.parent.is_dir():
        raise CijInputError(f"The file {path!r} can't be written: there is no folder {str(local.parent)!r}.")
    if path.endswith("/") or (local and local.is_dir()):
        raise CijInputError(f"The file {path!r} can't be written: it is a folder.", hint="Give a file's name.")
    if format_of(path) == PARQUET:
        arrow()


def _no_name(path: Path) -> str:
    """Say why no file can have this name; "" when one can."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


@contextmanager
def writing(path: str, columns: Sequence[str]) -> Iterator[Writer]:
    """Write rows to CSV or Parquet, as the name says, as they come.

    The file appears when the ``with`` ends well, whole and in place of an older one; otherwise nothing does.

    :param path: a path, or a URL such as ``s3://bucket/members.csv``
    :param columns: their names
    :raises CijInputError: as in ``check_writable``
    :raises CijError: the store did not take it
    """
    check_writable(path)
    try:
        with _placed(path) as file, _writer(path, file, columns) as writer:
            yield writer
    except OSError as error:
        raise CijError(f"The file {path!r} was not written: {error}.") from error


@contextmanager
def _placed(path: str) -> Iterator[IO[bytes]]:
    """Give a temporary file, and put it where it belongs at the end."""
    if target := _local(path):
        # Beside it: only there can it be renamed in one step. A name of its own: another task may write there too.
        part = target.with_name(f".cij-{uuid.uuid4().hex}.part")
        try:
            with part.open("xb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return
    with tempfile.NamedTemporaryFile(prefix="cij-") as spool:
        yield spool
        spool.flush()
        store, key = _object(path)
        try:
            store.put_file(spool.name, key)
        except Exception as error:  # of whatever library reaches the store
            raise CijError(f"The file {path!r} was not written: {type(error).__name__}: {error}.") from error


@contextmanager
def _writer(path: str, file: Any, columns: Sequence[str]) -> Iterator[Writer]:
    if format_of(path) == PARQUET:
        with _Parquet(file, columns) as parquet:
            yield parquet
            parquet.flush()
        return
    with ExitStack() as stack:
        if _gzipped(path):
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="wb", filename=""))
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        stack.callback(text.detach)  # it would close the file
        yield _Csv(text, columns, delimiter_of(path))


class _Csv:
    def __init__(self, text: IO[str], columns: Sequence[str], delimiter: str) -> None:
        self._text = text
        self._one = len(columns) == 1
        self._special = (delimiter, '"', "\r")
        self._rows = csv.writer(_Lines(text), delimiter=delimiter)
        self._rows.writerow(columns)

    def write(self, rows: Sequence[Any]) -> None:
        """Append rows."""
        if not self._one:
            self._rows.writerows(rows)
            return
        lines = "\n".join(rows)
        if lines.count("\n") >= len(rows) or "" in rows or any(mark in lines for mark in self._special):
            self._rows.writerows((row,) for row in rows)
        elif rows:  # ids: nothing to quote
            self._text.write(f"{lines}\n")


class _Lines:
    """Ends rows in a bare line feed. Told to, Python 3.11's writer would no longer quote a carriage return."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def write(self, row: str) -> None:
        """Take a row of Python's writer, which ends in both."""
        self._text.write(f"{row[:-2]}\n")


class _Parquet:
    def __init__(self, file: Any, columns: Sequence[str]) -> None:
        self._arrow = arrow()
        self._schema = self._arrow.schema([(column, self._arrow.string()) for column in columns])
        self._file = self._arrow.parquet.ParquetWriter(file, self._schema)
        self._rows: list[Any] = []

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Sequence[str] | Sequence[tuple[object, ...]]) -> None:
        """Append rows; they become row groups of some size, not one a call."""
        self._rows += rows
        if len(self._rows) >= _PARQUET_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was kept."""
        if not self._rows:
            return
        columns = [self._rows] if len(self._schema) == 1 else zip(*self._rows, strict=True)
        texts = [[value if value is None else str(value) for value in column] for column in columns]
        self._file.write_table(self._arrow.table(texts, schema=self._schema))
        self._rows = []


def arrow() -> Any:
    """Import what reads and writes Parquet.

    :raises CijInputError: it is not installed
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise CijInputError("Parquet needs pyarrow.", hint="pip install 'airflow-provider-cij[parquet]'") from None
    return pyarrow
