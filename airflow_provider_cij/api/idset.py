"""Exact sets of ids in 16 bytes each, so that a long list costs megabytes where Python's sets cost hundreds."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_cij.dataverse.odata import text_of

_KEY = 16
_BUCKETS = 256
_ROOM = 100_000


class IdSet:
    """Distinct ids, always in the same order for the same list, whatever its length.

    The ids lie in 256 heaps by their own bits; equal ids are in the same heap, so one heap at a time is made distinct.
    """

    def __init__(self) -> None:
        self._heaps = [bytearray() for _ in range(_BUCKETS)]
        self._raw = 0
        self._distinct = 0

    def update(self, keys: bytes) -> None:
        """Put ids in.

        :param keys: 16 bytes each, joined (``odata.keys_of``)
        """
        heaps = self._heaps
        for start in range(0, len(keys), _KEY):
            # The first, fourth and last byte: Dataverse counts up in one of the first, other makers in the last.
            heaps[keys[start] ^ keys[start + 3] ^ keys[start + 15]] += keys[start : start + _KEY]
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
            frozen = bytes(heap)
            batch += [text_of(frozen[start : start + _KEY]) for start in range(0, len(frozen), _KEY)]
            while len(batch) >= size:
                yield batch[:size]
                del batch[:size]
        if batch:
            yield batch

    def _make_distinct(self) -> None:
        for number, heap in enumerate(self._heaps):
            frozen = bytes(heap)
            keys = dict.fromkeys(frozen[start : start + _KEY] for start in range(0, len(frozen), _KEY))
            self._heaps[number] = bytearray().join(keys)
        self._raw = self._distinct = sum(map(len, self._heaps)) // _KEY
