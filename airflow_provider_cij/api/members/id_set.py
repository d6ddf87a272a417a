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

_KEY = 16
_each = struct.Struct(f"{_KEY}s").iter_unpack
_BUCKET_COUNT = 256
_ROOM = 100_000
_IN_MEMORY = 250_000


class IdSet:
    """Distinct ids, always in the same order whatever order they came in, and however many.

    The ids lie in 256 buckets by their own bits. Equal ids are in the same bucket, so one bucket at a time is made
    distinct, sorted, or compared with its like in another set. Past 250,000 ids the buckets go to a temporary file.
    """

    def __init__(self) -> None:
        self._buckets = _Buckets()
        self._raw = 0
        self._distinct = 0

    def update(self, keys: bytes) -> None:
        """Put ids in.

        :param keys: 16 bytes each, joined (``guids.pack_guids``)
        :raises CijError: the temporary file can't be written
        """
        self._buckets.add(keys)
        self._raw += len(keys) // _KEY
        # Duplicates take no room: made distinct each time the set may have doubled.
        if self._raw > 2 * self._distinct + _ROOM:
            self._make_distinct()

    def __len__(self) -> int:
        if self._raw != self._distinct:
            self._make_distinct()
        return self._distinct

    def batches(self, size: int) -> Iterator[list[str]]:
        """Give the ids, as the service writes them, ``size`` at a time."""
        len(self)
        batch: list[str] = []
        for number in range(_BUCKET_COUNT):
            # A database may give the same rows in another order the next time.
            batch += sorted(unpack_guids(self._buckets.read(number)))
            while len(batch) >= size:
                yield batch[:size]
                del batch[:size]
        if batch:
            yield batch

    def digest(self) -> str:
        """Give what tells this list from every other."""
        sum_of_all = blake2b(digest_size=16)
        for number in range(_BUCKET_COUNT):
            sum_of_all.update(b"".join(sorted(self._buckets.keys(number))))
        return sum_of_all.hexdigest()

    def minus(self, other: IdSet) -> IdSet:
        """Give the ids that are here and not there."""
        left = IdSet()
        for number in range(_BUCKET_COUNT):
            left.update(b"".join(self._buckets.keys(number) - other._buckets.keys(number)))
        return left

    def common(self, other: IdSet) -> int:
        """Count the ids that are in both."""
        return sum(len(self._buckets.keys(number) & other._buckets.keys(number)) for number in range(_BUCKET_COUNT))

    def close(self) -> None:
        """Drop the ids and the temporary file, as the end of a ``with`` does. Only ``len`` works from then on."""
        self._buckets.close()

    def __enter__(self) -> IdSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_distinct(self) -> None:
        buckets = _Buckets()
        self._raw = 0
        for number in range(_BUCKET_COUNT):
            keys = self._buckets.keys(number)
            buckets.put(number, b"".join(keys))
            self._raw += len(keys)
        self._buckets.close()
        self._buckets, self._distinct = buckets, self._raw


class _Buckets:
    """What lies where: the end of each bucket in memory, and all before it in the file, once there is one."""

    def __init__(self) -> None:
        self._ends = [bytearray() for _ in range(_BUCKET_COUNT)]
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(_BUCKET_COUNT)]
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, keys: bytes) -> None:
        """Put each key on its bucket."""
        ends = self._ends
        for (key,) in _each(keys):
            # Makers of ids count up in the first bytes or in the last ones.
            ends[key[3] ^ key[15]] += key
        self._hold(len(keys))

    def put(self, number: int, keys: bytes) -> None:
        """Put keys on one bucket."""
        self._ends[number] += keys
        self._hold(len(keys))

    def read(self, number: int) -> bytes:
        """Give a bucket, as it is."""
        parts = [bytes(self._ends[number])]
        if self._file:
            for place, length in reversed(self._spilled[number]):
                self._file.seek(place)
                parts.append(self._file.read(length))
        return b"".join(reversed(parts))

    def keys(self, number: int) -> set[bytes]:
        """Give the different keys of a bucket."""
        return {key for (key,) in _each(self.read(number))}

    def close(self) -> None:
        """Forget everything."""
        # Without buckets every other call fails: a closed set must not pass for an empty one.
        self._ends = []
        if self._file:
            self._file.close()

    def __del__(self) -> None:
        self.close()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > _IN_MEMORY * _KEY:
            try:
                self._spill()
            except OSError as error:
                raise CijError(
                    f"The list does not fit into the temporary folder: {error}.", hint="TMPDIR names another one."
                ) from None

    def _spill(self) -> None:
        # A file without a name: nobody else can open it, and it is gone even when the process is killed.
        self._file = file = self._file or tempfile.TemporaryFile(prefix="cij-")  # noqa: SIM115  # closed in close()
        place = file.seek(0, SEEK_END)
        for end, spilled in zip(self._ends, self._spilled, strict=True):
            file.write(end)
            spilled.append((place, len(end)))
            place += len(end)
            end.clear()
        file.flush()
        self._held = 0
