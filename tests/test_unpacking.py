"""Compressed files, and files of other kinds than their names say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile
from tests.streams import read_source

TEXT = b"id,name\nx,Ada\n"


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # Without the present time: contents are part of the tests' names.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a file and reads its column ``id``."""

    def write(name: str, content: bytes, **options):
        path = tmp_path / name
        path.write_bytes(content)
        return read_source(FromFile(str(path), "id", **options))

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", gzip.compress(TEXT, mtime=0)),
        ("x.csv.gz", gzip.compress(TEXT[:5], mtime=0) + gzip.compress(TEXT[5:], mtime=0)),
        ("x.zip", _zip({"x.csv": TEXT})),
        ("x.csv.zip", _zip({"x.csv": TEXT})),
        ("x.csv", _zip({"some/folder/x.txt": TEXT})),
        ("x.zip", _zip({"x.csv": TEXT, "__MACOSX/._x.csv": b"\0", "folder/": b""})),
        ("x.zip", _zip({"x.csv.gz": gzip.compress(TEXT, mtime=0)})),
        ("x.zip", _zip({"x.tsv": TEXT.replace(b",", b"\t")})),
    ],
)
def test_a_compressed_file_is_read_as_it_is(read, name, content):
    """Gzip and a zip of one file are read whatever the name says."""
    assert read(name, content) == [(2, "x")]


def test_the_format_of_a_zip_is_that_of_its_member(read):
    """The name within a zip tells the format."""
    assert read("x.zip", _zip({"x.json": b'[{"id": "x"}]'})) == [(1, "x")]


def _parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"id": ["x"]}), file)
    return file.getvalue()


def _sqlite(tmp_path) -> bytes:
    database = sqlite3.connect(tmp_path / "some.db")
    database.execute("CREATE TABLE x (y)")
    database.commit()
    database.close()
    return (tmp_path / "some.db").read_bytes()


def _deflate64() -> bytes:
    content = bytearray(_zip({"x.csv": TEXT}))
    content[8:10] = b"\x09\0"  # the method, in the member's header and in the directory
    directory = content.index(b"PK\x01\x02")
    content[directory + 10 : directory + 12] = b"\x09\0"
    return bytes(content)


def _encrypted() -> bytes:
    content = bytearray(_zip({"x.csv": TEXT}))
    directory = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[directory + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "x.csv",
            bz2.compress(TEXT),
            "is compressed with bzip2, which is not read. Decompress it, or compress it with",
        ),
        ("x.csv", lzma.compress(TEXT), "is compressed with xz"),
        ("x.csv", b"\x28\xb5\x2f\xfd\x04", "is compressed with Zstandard"),
        ("x.csv.zst", b"\x28\xb5\x2f\xfd\x04", "is compressed with Zstandard"),
        ("x.csv.zst", TEXT, r"of no known format.*Decompress it, or compress it with gzip"),
        ("x.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", r"an Excel workbook \(.xls\), which is not read. Save it as CSV"),
        ("x.csv", _zip({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "an Office document.*Save it as CSV"),
        ("x.xlsx", _zip({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "an Office document.*Save it as CSV"),
        ("x.zip", _zip({"a.csv": TEXT, "b.csv": TEXT}), "is a zip of 2 files. Give a zip of one file"),
        ("x.zip", _zip({}), "is a zip of 0 files"),
        ("x.zip", _zip({"x.csv": TEXT})[:-30], "is no whole zip file"),
        ("x.zip", _encrypted(), "is an encrypted zip. Decrypt it first"),
        ("x.zip", _deflate64(), "can't be decompressed"),
        ("x.zip", _zip({"x.parquet": _parquet()}), "is compressed Parquet. Decompress it"),
        ("x.csv", _parquet(), "is Parquet. Give format='parquet'"),
        ("x.csv", b"Obj\x01", "is Avro, which is not read"),
        ("x.csv.gz", TEXT, "is no whole gzip file"),
        ("x.csv", gzip.compress(TEXT * 1000, mtime=0)[:-9], "is no whole gzip file"),
    ],
)
def test_a_file_that_is_not_read_is_refused_by_what_it_is(read, name, content, words):
    """A file in another format or compression is refused by what it is, with what to do."""
    with pytest.raises(CijInputError, match=words):
        read(name, content)


def test_a_database_is_refused_by_what_it_is(read, tmp_path):
    """A database that is named as a text is refused."""
    with pytest.raises(CijInputError, match=r"is a SQLite database, which is not read. Read it with FromSql"):
        read("x.csv", _sqlite(tmp_path))


def test_a_damaged_member_of_a_zip_is_refused(read):
    """A zip whose content does not have its checksum is refused."""
    content = bytearray(_zip({"x.csv": TEXT * 100}))
    directory = content.index(b"PK\x01\x02")
    for place in (14, directory + 16):
        content[place] ^= 0xFF
    with pytest.raises(CijInputError, match="is no whole zip file: Bad CRC-32"):
        read("x.zip", bytes(content))


def test_a_text_may_begin_as_a_parquet_file_does(read):
    """A header that begins with the letters PAR1 is a header."""
    assert read("x.csv", b"PAR1,id\na,x\n") == [(2, "x")]
