"""The rows of a list in a temporary file: distinct, in one order, none lost."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.records.plan import HALF, PlannedRow
from airflow_provider_cij.api.records.spool import Spool, unpack


def row(key, line):
    """Return a row whose key is a number; every tenth number differs from the one before in its second half only."""
    widest = hashlib.blake2b(b"%d" % (key // 10 * 9 + min(key % 10, 8)), digest_size=HALF).digest()
    return PlannedRow(
        widest + hashlib.blake2b(b"%d" % key, digest_size=HALF).digest(), line, (key, ..., None, "ü", 1.5)
    )


@given(
    keys=st.lists(st.integers(0, 60), max_size=120),
    in_memory=st.integers(1, 50),
    part=st.integers(1, 30),
    keep=st.sampled_from(["first", "last"]),
    size=st.integers(1, 40),
    half=st.booleans(),
)
def test_rows_come_out_once_and_in_one_order(keys, in_memory, part, keep, size, half):
    """Whatever fits into memory, one row of each key comes out whole, and the others are named with it."""
    rows = [row(key, line) for line, key in enumerate(keys)]
    dropped = []
    with Spool(in_memory) as spool:
        spool.key_size = HALF if half else 2 * HALF
        for start in range(0, len(rows), part):
            spool.add(rows[start : start + part])
        count = spool.finish(keep, lambda line, by: dropped.append((line, by)))
        windows = [list(map(unpack, window)) for window in spool.windows(size)]
        digest = spool.digest
    expected = {}
    for one in rows if keep == "last" else reversed(rows):
        expected[one.key[: HALF if half else 2 * HALF]] = one
    out = [one for window in windows for one in window]
    assert sorted(out) == sorted(expected.values())
    assert all(len(window) == size for window in windows[:-1])
    assert (spool.count, count) == (len(out), len(rows) - len(out))
    kept = {one.key[: HALF if half else 2 * HALF]: one.line for one in out}
    assert sorted(dropped) == sorted(
        (one.line, kept[one.key[: HALF if half else 2 * HALF]]) for one in rows if one not in out
    )
    # Another order of the same rows, and other lines, are the same list.
    with Spool(7) as again:
        again.key_size = spool.key_size
        again.add([one._replace(line=9) for one in reversed(out)])
        again.finish(keep, lambda *_: None)
        assert (again.digest, [unpack(one).key for window in again.windows(1000) for one in window]) == (
            digest,
            [one.key for one in out],
        )
