"""Exact sets of ids in 16 bytes each, so that a long list costs megabytes where Python's sets cost hundreds."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from airflow_provider_cij.dataverse.odata import texts_of

_KEY = 16
_each = struct.Struct(f"{_KEY}s").iter_unpack
_HEAPS = 256
_ROOM = 100_000


class IdSet:
    """Distinct ids, always in the same order for the same list, whatever its length.

    The ids lie in 256 heaps by their own bits; equal ids are in the same heap, so one heap at a time is made distinct.
    """

    def __init__(self) -> None:
        self._heaps = [bytearray() for _ in range(_HEAPS)]
        self._raw = 0
        self._distinct = 0

    def update(self, keys: bytes) -> None:
        """Put ids in.

        :param keys: 16 bytes each, joined (``odata.keys_of``)
        """
        heaps = self._heaps
        for (key,) in _each(keys):
            # Makers of ids count up in the first bytes or in the last ones.
            heaps[key[3] ^ key[15]] += key
        self._raw += len(keys) // _KEY
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
        for heap in self._heaps:
            batch += texts_of(heap)
            while len(batch) >= size:
                yield batch[:size]
                del batch[:size]
        if batch:
            yield batch

    def _make_distinct(self) -> None:
        self._raw = 0
        for heap in self._heaps:
            distinct = len(set(_each(heap)))
            if distinct * _KEY < len(heap):
                heap[:] = b"".join(key for (key,) in dict.fromkeys(_each(heap)))
            self._raw += distinct
        self._distinct = self._raw
