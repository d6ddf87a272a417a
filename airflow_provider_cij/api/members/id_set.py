"""Exact sets of ids in 16 bytes each: in memory where Python's sets cost hundreds of megabytes, and on disk beyond."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from io import SEEK_END
from typing import IO

from airflow_provider_cij.dataverse.guids import unpack_guids
from airflow_provider_cij.errors import CijError

ID_BYTES = 16
"""Bytes of an id."""
BUCKET_COUNT = 256
"""Buckets of a set."""
_MAX_SLACK = 100_000


def _keys_in(joined: bytes) -> tuple[bytes, ...]:
    """Return keys as separate values. ``iter_unpack`` takes eight times as long.

    :param joined: 16 bytes each, joined
    """
    return struct.Struct(f"{ID_BYTES}s" * (len(joined) // ID_BYTES)).unpack(joined)


def _numbers_of(joined: bytes) -> bytes:
    """Return the number of each key's bucket, one byte each.

    :param joined: 16 bytes each, joined
    """
    # Generators of ids count up in the first bytes or in the last ones.
    count = len(joined) // ID_BYTES
    return (int.from_bytes(joined[3::ID_BYTES]) ^ int.from_bytes(joined[15::ID_BYTES])).to_bytes(count)


class IdSet:
    """Distinct ids, always in the same order whatever order they came in.

    The ids lie in 256 buckets by their own bits. Equal ids are in the same bucket, so one bucket at a time is made
    distinct, sorted, or compared with the same bucket of another set. Many ids go to a temporary file.

    :param in_memory: how many ids are held in memory before they go to the file; default 250,000
    """

    def __init__(self, in_memory: int = 250_000) -> None:
        self._in_memory = in_memory
        self._buckets = Buckets(in_memory)
        self._raw = 0
        self._distinct = 0

    @classmethod
    def taking(cls, buckets: Buckets, count: int) -> IdSet:
        """Return a set that takes over buckets which are filled already.

        :param buckets: the keys, duplicates as well
        :param count: how many keys they hold
        """
        taken = cls()
        taken._buckets, taken._raw = buckets, count
        return taken

    def update(self, keys: bytes) -> None:
        """Add ids.

        :param keys: 16 bytes each, joined, as ``guids.pack_guids`` returns them
        :raises CijError: the temporary file can't be written
        """
        self._buckets.add(keys)
        self._raw += len(keys) // ID_BYTES
        # Duplicates are dropped each time the set may have doubled: they must not fill memory or disk.
        if self._raw > 2 * self._distinct + min(self._in_memory, _MAX_SLACK):
            self._make_distinct()

    def __len__(self) -> int:
        if self._raw != self._distinct:
            self._make_distinct()
        return self._distinct

    def batches(self, size: int) -> Iterator[list[str]]:
        """Yield the ids as the service writes them, in batches.

        :param size: ids a batch; the last one may have fewer
        """
        len(self)
        batch: list[str] = []
        for number in range(BUCKET_COUNT):
            # Sorted: a database may return the same rows in another order the next time.
            batch += sorted(unpack_guids(self._buckets.read(number)))
            while len(batch) >= size:
                yield batch[:size]
                del batch[:size]
        if batch:
            yield batch

    def digest(self) -> str:
        """Return a digest that tells this set from every other."""
        digest = blake2b(digest_size=16)
        for number in range(BUCKET_COUNT):
            digest.update(b"".join(sorted(set(self._buckets.keys(number)))))
        return digest.hexdigest()

    def minus(self, other: IdSet) -> IdSet:
        """Return the ids that are in this set and not in the other.

        :param other: the other set
        """
        left = IdSet(self._in_memory)
        for number in range(BUCKET_COUNT):
            left._put(number, set(self._buckets.keys(number)).difference(other._buckets.keys(number)))
        return left

    def compare(self, other: IdSet) -> tuple[IdSet, IdSet]:
        """Return the ids that are in this set alone, and those that are in the other alone.

        :param other: the other set
        """
        len(other)  # makes it distinct
        here, there, distinct = IdSet(self._in_memory), IdSet(self._in_memory), 0
        for number in range(BUCKET_COUNT):
            mine, others = set(self._buckets.keys(number)), other._buckets.keys(number)
            only_mine = mine.difference(others)
            here._put(number, only_mine)
            if len(mine) - len(only_mine) < len(others):
                there._put(number, set(others).difference(mine))
            distinct += len(mine)
        # Nothing was added since: what has no duplicate need not be made distinct.
        self._distinct = self._raw if distinct == self._raw else self._distinct
        return here, there

    def close(self) -> None:
        """Drop the ids and the temporary file, as the end of a ``with`` does. Only ``len`` works afterwards."""
        self._buckets.close()

    def __enter__(self) -> IdSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, number: int, keys: set[bytes]) -> None:
        """Put keys into a bucket that has none."""
        if keys:
            self._buckets.put(number, b"".join(keys))
        self._raw = self._distinct = self._raw + len(keys)

    def _make_distinct(self) -> None:
        before, self._buckets, self._raw = self._buckets, Buckets(self._in_memory), 0
        for number in range(BUCKET_COUNT):
            self._put(number, set(before.keys(number)))
        before.close()


class Buckets:
    """Keys by bucket: the newest of each in memory, the earlier ones in a temporary file once there is one.

    :param in_memory: how many keys are held in memory
    """

    def __init__(self, in_memory: int) -> None:
        self._most = in_memory * ID_BYTES
        self._newest = [bytearray() for _ in range(BUCKET_COUNT)]
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(BUCKET_COUNT)]
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, keys: bytes) -> None:
        """Put each key into its bucket.

        :param keys: 16 bytes each, joined
        :raises CijError: the temporary file can't be written
        """
        newest = self._newest
        for number, key in zip(_numbers_of(keys), _keys_in(keys), strict=True):
            newest[number] += key
        self._hold(len(keys))

    def put(self, number: int, keys: bytes) -> None:
        """Put keys into one bucket.

        :param number: the bucket
        :param keys: 16 bytes each, joined
        :raises CijError: the temporary file can't be written
        """
        self._newest[number] += keys
        self._hold(len(keys))

    def read(self, number: int) -> bytes:
        """Return all keys of a bucket, duplicates as well.

        :param number: the bucket
        """
        parts = [bytes(self._newest[number])]
        if self._file:
            for offset, length in reversed(self._spilled[number]):
                self._file.seek(offset)
                parts.append(self._file.read(length))
        return b"".join(reversed(parts))

    def keys(self, number: int) -> tuple[bytes, ...]:
        """Return all keys of a bucket as separate values, duplicates as well.

        :param number: the bucket
        """
        return _keys_in(self.read(number))

    def repeats(self, key: bytes) -> bool:
        """Return whether a key was added more than once.

        :param key: 16 bytes
        """
        (number,) = _numbers_of(key)
        joined = self.read(number)
        # The same bytes may lie across two keys.
        return joined.count(key) > 1 and _keys_in(joined).count(key) > 1

    def close(self) -> None:
        """Drop all keys and the file."""
        # Without buckets every other call fails: a closed set must not pass for an empty one.
        self._newest = []
        if self._file:
            self._file.close()

    def __del__(self) -> None:
        self.close()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._most:
            try:
                self._spill()
            except OSError as error:
                raise CijError(
                    f"The list does not fit into the temporary folder: {error}.", hint="TMPDIR names another one."
                ) from None

    def _spill(self) -> None:
        # A file without a name: nobody else can open it, and it is gone even when the process is killed.
        self._file = file = self._file or tempfile.TemporaryFile(prefix="cij-")  # noqa: SIM115  # closed in close()
        offset = file.seek(0, SEEK_END)
        for newest, spilled in zip(self._newest, self._spilled, strict=True):
            file.write(newest)
            spilled.append((offset, len(newest)))
            offset += len(newest)
            newest.clear()
        file.flush()
        self._held = 0
