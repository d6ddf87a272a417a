"""IdSet: a set of ids that spills to disk, compared with Python's own set."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.errors import CijError

keys = st.lists(
    st.lists(st.integers(0, 300).map(lambda number: uuid.uuid5(uuid.NAMESPACE_OID, str(number))), max_size=30)
)


in_memory = 250_000


@pytest.fixture(params=[250_000, 5], ids=["in memory", "spilled"], autouse=True, scope="module")
def _room(request):
    global in_memory
    in_memory = request.param


def _filled(chunks, most: int | None = None) -> IdSet:
    ids = IdSet(most or in_memory)
    for chunk in chunks:
        ids.update(b"".join(member_id.bytes for member_id in chunk))
    return ids


def _plain(chunks) -> set[str]:
    return {str(member_id) for chunk in chunks for member_id in chunk}


def _listed(ids: IdSet) -> list[str]:
    return [member_id for batch in ids.batches(1000) for member_id in batch]


@given(keys, st.integers(1, 7))
def test_it_holds_what_a_python_set_holds(chunks, size):
    """Each id is there once, and every batch but the last is full."""
    ids = _filled(chunks)
    batches = list(ids.batches(size))
    assert len(ids) == len(_plain(chunks))
    assert sorted(member_id for batch in batches for member_id in batch) == sorted(_plain(chunks))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


@given(keys, st.randoms())
def test_the_same_ids_give_the_same_batches(chunks, chance):
    """The batches depend on the ids alone, not on their order or on how they were cut into chunks."""
    whole = [member_id for chunk in chunks for member_id in chunk]
    chance.shuffle(whole)
    assert list(_filled(chunks).batches(3)) == list(_filled([whole]).batches(3))


@given(keys, keys)
def test_the_difference_matches_python_sets(here, there):
    """``minus`` and ``compare`` agree with Python's sets and change neither set."""
    first, second = _filled(here), _filled(there)
    only_here, only_there = first.compare(second)
    for found, expected in (
        (first.minus(second), _plain(here) - _plain(there)),
        (only_here, _plain(here) - _plain(there)),
        (only_there, _plain(there) - _plain(here)),
    ):
        assert len(found) == len(expected)
        assert set(_listed(found)) == expected
    assert (set(_listed(first)), set(_listed(second))) == (_plain(here), _plain(there))


@given(keys, keys)
def test_ids_can_be_added_after_reading(first, second):
    """Ids can be added after the set was counted and listed."""
    ids = _filled(first)
    assert len(_listed(ids)) == len(_plain(first))
    for chunk in second:
        ids.update(b"".join(member_id.bytes for member_id in chunk))
    assert set(_listed(ids)) == _plain(first) | _plain(second)


def test_duplicates_are_removed_while_reading():
    """Duplicates are removed while reading, not only at the end, so they take no memory."""
    ids = IdSet(min(100, in_memory))
    for _ in range(1000):
        ids.update(uuid.NAMESPACE_OID.bytes * 10)
        assert ids._raw <= 112
    assert len(ids) == 1


def _temporary_files() -> list[str]:
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in links if target.startswith(tempfile.gettempdir()) and "(deleted)" in target]


def test_the_temporary_file_is_unnamed_and_closed_with_the_set():
    """The temporary file has no name, and is closed by ``close`` or by garbage collection."""
    before = _temporary_files()
    with _filled([[uuid.uuid4() for _ in range(300)]], 5) as ids:
        assert len(ids) == 300
        assert len(_temporary_files()) == len(before) + 1
    assert _temporary_files() == before
    assert len(ids) == 300
    for use in (lambda: list(ids.batches(1)), lambda: ids.update(bytes(16)), lambda: ids.minus(IdSet())):
        with pytest.raises(IndexError):
            use()
    kept = _filled([[uuid.uuid4() for _ in range(300)]], 5)
    assert len(_temporary_files()) == len(before) + 1
    del kept
    gc.collect()
    assert _temporary_files() == before


def test_a_full_disk_is_a_retryable_error(monkeypatch):
    """A temporary folder that cannot be written raises a retryable error that names it."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(CijError, match=r"temporary folder: .*/nowhere/at/all.*TMPDIR") as raised:
        _filled([[uuid.uuid4() for _ in range(300)]], 5)
    assert not raised.value.permanent


_FILL = """
import os, sys
from pathlib import Path
from airflow_provider_cij.api.members.id_set import IdSet

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

count = int(sys.argv[1])
before, ids = peak(), IdSet()
for _ in range(count // 1000):
    ids.update(os.urandom(16_000))
assert len(ids) == sum(map(len, ids.batches(1000))) == count
print(peak() - before)
"""


def test_memory_is_bounded():
    """Two million ids take at most 20 MiB more memory than 20,000."""
    few, many = (
        int(subprocess.run([sys.executable, "-c", _FILL, count], capture_output=True, text=True, check=True).stdout)
        for count in ("20000", "2000000")
    )
    assert many - few < 20 * 1024
