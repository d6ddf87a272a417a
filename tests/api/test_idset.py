from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api import idset
from airflow_provider_cij.api.idset import IdSet

keys = st.lists(
    st.lists(st.integers(0, 300).map(lambda number: uuid.uuid5(uuid.NAMESPACE_OID, str(number))), max_size=30)
)


def _filled(chunks) -> IdSet:
    ids = IdSet()
    for chunk in chunks:
        ids.update(b"".join(one.bytes for one in chunk))
    return ids


@given(keys, st.integers(1, 7))
def test_it_is_pythons_set(chunks, size):
    """No id is lost, none is there twice, and every batch but the last is full."""
    ids = _filled(chunks)
    batches = list(ids.batches(size))
    given_ids = {str(one) for chunk in chunks for one in chunk}
    assert len(ids) == len(given_ids)
    assert sorted(one for batch in batches for one in batch) == sorted(given_ids)
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


@given(keys)
def test_the_same_list_gives_the_same_batches(chunks):
    """However it was cut into chunks: a retry goes over the same batches."""
    whole = [[one for chunk in chunks for one in chunk]]
    assert list(_filled(chunks).batches(3)) == list(_filled(whole).batches(3))


def test_many_duplicates_take_no_room(monkeypatch):
    """A list that repeats itself is made distinct on the way, not at the end only."""
    monkeypatch.setattr(idset, "_ROOM", 100)
    ids = IdSet()
    for _ in range(1000):
        ids.update(uuid.NAMESPACE_OID.bytes * 10)
        assert ids._raw <= 112
    assert len(ids) == 1
