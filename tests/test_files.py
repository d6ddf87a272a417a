from __future__ import annotations

import csv
import gzip
import io
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij import files
from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.files import check_writable, reading, writing

anything = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(autouse=True, scope="module")
def _store():
    attach("memory", fs=MemoryFileSystem())


def _written(path: str, columns, *batches) -> None:
    with writing(path, columns) as writer:
        for batch in batches:
            writer.write(batch)


def _rows(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@given(st.lists(st.lists(anything, max_size=4), max_size=4))
def test_one_column_is_read_back_as_it_was_written(tmp_path_factory, batches):
    """One column with line ends, quotes and empty values is read back unchanged."""
    path = tmp_path_factory.getbasetemp() / "one.csv"
    _written(str(path), ["a column"], *batches)
    assert _rows(path) == [["a column"], *([value] for batch in batches for value in batch)]


@given(st.lists(st.tuples(anything, anything), max_size=5), st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet"]))
def test_several_columns_are_read_back_as_they_were_written(tmp_path_factory, rows, suffix):
    """Several columns are read back unchanged in every format."""
    path = tmp_path_factory.getbasetemp() / f"several{suffix}"
    _written(str(path), ["a", "b"], rows[:2], rows[2:])
    if suffix == ".parquet":
        columns = pyarrow.parquet.read_table(path).to_pydict()
        assert list(columns) == ["a", "b"]
        assert list(zip(*columns.values(), strict=True)) == rows
        return
    text = gzip.decompress(path.read_bytes()) if suffix == ".csv.gz" else path.read_bytes()
    read = csv.reader(io.StringIO(text.decode(), newline=""), delimiter="\t" if suffix == ".tsv" else ",")
    assert list(read) == [["a", "b"], *map(list, rows)]


def test_the_layout_of_a_csv_file(tmp_path):
    """A CSV file has a header, one id a line and line feeds; missing values are empty."""
    path = tmp_path / "members"
    _written(str(path), ["contactid"], ["x", "y"], [], ["z"])
    assert path.read_bytes() == b"contactid\nx\ny\nz\n"
    _written(str(path), ["contactid"])
    assert path.read_bytes() == b"contactid\n"
    _written(str(path), ["a", "b"], [("x", None), ("y", 1)])
    assert path.read_bytes() == b"a,b\nx,\ny,1\n"


def test_parquet_row_groups_are_large(tmp_path):
    """Parquet row groups span several pages of the service, and every column is a string."""
    path = tmp_path / "members.parquet"
    texts = [str(number) for number in range(120_000)]
    _written(str(path), ["contactid"], *(texts[start : start + 5000] for start in range(0, 120_000, 5000)))
    read = pyarrow.parquet.ParquetFile(path)
    assert read.metadata.num_row_groups == 3
    assert read.read().to_pydict() == {"contactid": texts}
    _written(str(path), ["a", "b"], [("x", None), ("y", 1)])
    assert pyarrow.parquet.read_table(path).to_pydict() == {"a": ["x", "y"], "b": [None, "1"]}
    _written(str(path), ["a", "b"])
    assert pyarrow.parquet.read_table(path).schema.types == [pyarrow.string(), pyarrow.string()]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_appears_whole_or_not_at_all(tmp_path, scheme, suffix):
    """The old file stays until the new one is complete, and nothing else is left behind."""
    path = tmp_path / f"members{suffix}"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError), writing(f"{scheme}{path}", ["id"]) as writer:
        writer.write(["x"])
        raise ZeroDivisionError
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]
    with writing(f"{scheme}{path}", ["id"]) as writer:
        writer.write(["x"])
        assert path.read_text() == "older"
    assert path.read_bytes() != b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_an_object_is_uploaded_whole_or_not_at_all(tmp_path, monkeypatch, suffix):
    """An object is uploaded when it is complete, and the temporary file is removed in any case."""
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    url = f"memory://bucket/folder/members{suffix}"
    _written(url, ["id"], ["older"])
    older = ObjectStoragePath(url).read_bytes()
    with pytest.raises(ZeroDivisionError), writing(url, ["id"]) as writer:
        writer.write(["x"])
        raise ZeroDivisionError
    assert ObjectStoragePath(url).read_bytes() == older
    with writing(url, ["id"]) as writer:
        writer.write(["x"])
        assert ObjectStoragePath(url).read_bytes() == older
    assert ObjectStoragePath(url).read_bytes() != older
    assert list(tmp_path.iterdir()) == []


class _Breaking(MemoryFileSystem):
    """A store that shows a file from its first byte, and whose connection breaks at a text."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def put_file(self, lpath, rpath, **options):
        text = Path(lpath).read_bytes()
        whole, found, _ = text.partition(b"broken")
        self.pipe_file(rpath, whole)
        if found:
            raise ConnectionResetError("reset by peer")


def test_other_stores_show_no_half_file():
    """In a store without atomic uploads a file is written beside its name: the older one stays, and no part is left."""
    attach("memory", conn_id="breaking", fs=_Breaking(skip_instance_cache=True))
    path = ObjectStoragePath("memory://breaking@bucket/folder/members.csv")
    _written(str(path), ["id"], ["older"])
    with pytest.raises(CijError, match="reset by peer"):
        _written(str(path), ["id"], ["x", "broken", "y"])
    assert path.read_text() == "id\nolder\n"
    _written(str(path), ["id"], ["newer"])
    assert path.read_text() == "id\nnewer\n"
    assert [one.name for one in path.parent.iterdir()] == ["members.csv"]


def test_a_failed_upload_is_retryable():
    """A failed upload raises a retryable error with the file and the store's message."""
    _written("memory://bucket/file.csv", ["id"], ["x"])
    with pytest.raises(CijError, match=r"'memory://bucket/file.csv/x.csv' was not written: \w+Error") as raised:
        _written("memory://bucket/file.csv/x.csv", ["id"], ["x"])
    assert not raised.value.permanent


def test_concurrent_writers_of_a_file_do_not_mix(tmp_path):
    """After two concurrent writes the file is complete and that of the last writer."""
    path = tmp_path / "members.csv"
    with writing(str(path), ["id"]) as first:
        first.write(["a"] * 3)
        with writing(str(path), ["id"]) as other:
            other.write(["b"] * 5)
        first.write(["a"] * 3)
    assert path.read_text() == "id\n" + "a\n" * 6


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere/members.csv", "there is no folder '/nowhere'"),
        ("file:///nowhere/members.csv", "there is no folder '/nowhere'"),
        ("/", "it is a folder"),
        ("{tmp}", "it is a folder"),
        ("{tmp}/members/", "it is a folder"),
        ("memory://bucket/", "it is a folder"),
        ("", "it is a folder"),
        ("nonsense://bucket/members.csv", "nonsense"),
        ("{tmp}/members.xlsx", "no known format"),
        ("{tmp}/members.CSV.ZIP", "no known format"),
        ("{tmp}/members.parquet.gz", "no known format"),
        ("{tmp}/members.jsonl", "would be JSON"),
        ("{tmp}/a\0b.csv", "embedded null"),
        ("{tmp}/" + "n" * 300, "File name too long"),
        ("{tmp}/\ud800.csv", "surrogates not allowed"),
    ],
)
def test_an_unwritable_path_is_refused_in_advance(tmp_path, path, message):
    """A path that cannot be written is refused by name before any work."""
    path = path.format(tmp=tmp_path)
    with pytest.raises(CijInputError, match=message) as raised:
        check_writable(path)
    assert repr(path) in str(raised.value)
    with pytest.raises(CijInputError, match=message), writing(path, ["id"]):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("older", "mask", "mode"), [(0o600, 0o022, 0o600), (0o664, 0o077, 0o664), (None, 0o027, 0o640)]
)
def test_the_file_mode_is_kept(tmp_path, older, mask, mode):
    """A file keeps the mode of the old one, or that of the umask, and is private until it is complete."""
    path, before = tmp_path / "members.csv", os.umask(mask)
    try:
        if older is not None:
            path.write_text("older")
            path.chmod(older)
            if os.getuid() == 0:
                os.chown(path, 12345, 54321)
        with writing(str(path), ["id"]):
            (part,) = tmp_path.glob(".cij-*.part")
            assert part.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    if older is not None and os.getuid() == 0:
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_special_files_are_neither_replaced_nor_read(tmp_path):
    """Devices, pipes, sockets and links to them are refused and stay unchanged."""
    pipe, device, loop = tmp_path / "pipe", tmp_path / "device", tmp_path / "loop"
    os.mkfifo(pipe)
    device.symlink_to("/dev/full")
    loop.symlink_to(loop)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (pipe, device, "/dev/full", "/dev/stdin", tmp_path / "socket"):
            with pytest.raises(CijInputError, match="a device, a pipe or a socket"), writing(str(path), ["id"]):
                raise AssertionError
            with pytest.raises(CijInputError, match="a device, a pipe or a socket"), reading(str(path)):
                raise AssertionError
    with pytest.raises(CijInputError, match="loop"):
        check_writable(str(loop))
    assert pipe.is_fifo()
    assert device.is_symlink()
    assert Path("/dev/full").is_char_device()
    assert list(tmp_path.glob(".cij-*")) == []


def test_a_dangling_link_writes_its_target(tmp_path):
    """A dangling link stays and its target is written; without the target's folder it is refused."""
    link, target = tmp_path / "link.csv", tmp_path / "deep" / "target.csv"
    link.symlink_to(target)
    with pytest.raises(CijInputError, match="there is no folder"):
        check_writable(str(link))
    target.parent.mkdir()
    _written(str(link), ["id"], ["x"])
    assert link.is_symlink()
    assert target.read_text() == "id\nx\n"


def test_leftovers_of_a_killed_attempt_are_removed(tmp_path):
    """Partial files of the same name are removed unless a live process is writing them."""
    path = tmp_path / "members.csv"
    script = """
import os, sys
from airflow_provider_cij.files import writing
with writing(sys.argv[1], ["id"]) as writer:
    writer.write(["x"])
    print("written", flush=True)
    sys.stdin.read()
"""

    def start(name: str) -> subprocess.Popen:
        env = os.environ | {"TMPDIR": str(tmp_path)}
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout.readline() == "written\n"
        return process

    with start("members.csv") as dead, start("other.csv") as other, start("members.csv") as live:
        for process in (dead, other):
            process.kill()
            process.wait()
        assert len(list(tmp_path.glob(".cij-*.part"))) == 3
        _written(str(path), ["id"], ["mine"])
        assert len(list(tmp_path.glob(".cij-*.part"))) == 2
        live.communicate("")
    assert live.returncode == 0
    assert path.read_text() == "id\nx\n"
    _written(str(tmp_path / "other.csv"), ["id"], ["mine"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["members.csv", "other.csv"]


def test_links_and_parent_folders_are_resolved(tmp_path):
    """A link stays and its target is replaced, and links to folders and ".." are resolved."""
    outside, inside = tmp_path / "outside.csv", tmp_path / "inside"
    outside.write_text("old")
    (inside / "deep").mkdir(parents=True)
    (inside / "link.csv").symlink_to(outside)
    (inside / "folder").symlink_to(inside / "deep")
    for path in (inside / "link.csv", inside / "folder" / "x.csv", inside / "deep" / ".." / "up.csv"):
        _written(str(path), ["id"], ["x"])
    assert outside.read_text() == "id\nx\n"
    assert (inside / "link.csv").is_symlink()
    names = sorted(str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file())
    assert names == ["deep/x.csv", "link.csv", "up.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "outside.csv"]


def test_values_are_not_escaped_for_spreadsheets(tmp_path):
    """Values that a spreadsheet would take for formulas are written unchanged."""
    values = ["=1+1@contoso.test", "+1@contoso.test", "-1", "@sum", "\t=x", "'x"]
    path = tmp_path / "x.csv"
    _written(str(path), ["line", "emailaddress1"], list(enumerate(values)))
    assert [row[1] for row in _rows(path)[1:]] == values


@pytest.mark.parametrize("path", ["members", "{tmp}/x.csv", "{tmp}/x.2026.parquet", "file://{tmp}/x", "memory://b/x"])
def test_checking_a_path_changes_nothing(tmp_path, path):
    """Checking whether a path can be written leaves nothing behind."""
    check_writable(path.format(tmp=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_full_disk_is_retryable(tmp_path, suffix):
    """A full disk raises a retryable error with the file's name and leaves no partial file."""
    path = tmp_path / f"members{suffix}"
    script = f"""
import os, resource
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import writing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with writing({str(path)!r}, ["id"]) as writer:
        writer.write([os.urandom(16).hex() for _ in range(10_000)])
except CijError as error:
    print(error.permanent, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"False The file {str(path)!r} was not written: [Errno 27] File too large")
    assert done.stderr == "" or "lost gzip_file" in done.stderr  # Python 3.14 tells of its own buffer
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_extra_is_named(tmp_path):
    """Without pyarrow a Parquet file is refused with the extra to install, before any reading or writing."""
    script = f"""
import sys
sys.modules["pyarrow"] = None
from airflow_provider_cij.files import check_writable
try:
    check_writable({str(tmp_path / "x.parquet")!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "CijInputError Parquet needs pyarrow. pip install 'airflow-provider-cij[parquet]'\n"
