"""Compressed files, read as they are: gzip, and zip with one file in it. What else a file may be is named."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from airflow_provider_cij.errors import CijInputError

_GZIP = b"\x1f\x8b"
_ZIP, _EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
_DECOMPRESS = "Decompress it, or compress it with gzip."
_SAVE = "Save it as CSV (UTF-8)."
# The first bytes of files that are not read, which no text begins with.
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": ("compressed with Zstandard", _DECOMPRESS),
    b"\xfd7zXZ\x00": ("compressed with xz", _DECOMPRESS),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", _DECOMPRESS),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook (.xls)", _SAVE),
    b"Obj\x01": ("Avro", "Write CSV, JSON lines or Parquet."),
    b"SQLite format 3\x00": ("a SQLite database", "Read it with FromSql."),
} | {b"BZh%d1AY&SY" % level: ("compressed with bzip2", _DECOMPRESS) for level in range(1, 10)}
_PARQUET = b"PAR1"


@contextmanager
def unpacked(path: str, raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Open a file for reading, decompressed. That it is compressed is told by its first bytes, not by its name.

    :param path: the file's path
    :param raw: the open file
    :return: the path, or the name of the file that a zip holds, and the open file, for one ``with``
    :raises CijInputError: it is compressed in another way, is cut off or damaged, or is a zip of several files
    """
    name, file = path, raw
    try:
        if _begins(file, _ZIP) or _begins(file, _EMPTY_ZIP):
            archive = zipfile.ZipFile(raw)
            name, file = _only_member(path, archive)
        if _begins(file, _GZIP) or name.lower().endswith(".gz"):
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
            file.read(1)
            file.seek(0)
        else:
            _check_readable(path, file)
        yield name, file
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        kind = "zip" if isinstance(error, zipfile.BadZipFile) else "gzip"
        raise CijInputError(f"The file {path!r} is no whole {kind} file: {error}. Nothing was sent.") from None


def _begins(file: IO[bytes], magic: bytes) -> bool:
    head = file.read(len(magic))
    file.seek(0)
    return head == magic


def _only_member(path: str, archive: zipfile.ZipFile) -> tuple[str, IO[bytes]]:
    names = archive.namelist()
    if "[Content_Types].xml" in names:
        raise CijInputError(f"The file {path!r} is an Office document, such as an Excel workbook.", hint=_SAVE)
    # macOS adds a file of its own attributes for each.
    members = [
        entry for entry in archive.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise CijInputError(f"The file {path!r} is a zip of {len(members):,} files.", hint="Give a zip of one file.")
    if members[0].flag_bits & 1:
        raise CijInputError(f"The file {path!r} is an encrypted zip.", hint="Decrypt it first.")
    try:
        return members[0].filename, archive.open(members[0])
    except NotImplementedError as error:
        raise CijInputError(f"The file {path!r} can't be decompressed: {error}.", hint=_DECOMPRESS) from None


def _check_readable(path: str, file: IO[bytes]) -> None:
    for magic, (what, hint) in _NOT_READ.items():
        if _begins(file, magic):
            raise CijInputError(f"The file {path!r} is {what}, which is not read.", hint=hint)


def check_text(path: str, file: Any) -> None:
    """Check that a file that is to be read as text is no Parquet, which its name may not say.

    :param path: the file's path
    :param file: the open file
    :raises CijInputError: it is Parquet
    """
    if _begins(file, _PARQUET):
        file.seek(-len(_PARQUET), 2)
        at_the_end = file.read()
        file.seek(0)
        if at_the_end == _PARQUET:
            raise CijInputError(f"The file {path!r} is Parquet.", hint="Give format='parquet'.")
