"""Store the checked rows of a list in a temporary file, distinct by key and ordered by key.

A million rows do not fit into memory. They are stored in 256 buckets by their keys, so rows with the same key are in
the same bucket. They are kept as bytes, because Python's garbage collector would traverse objects.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from io import SEEK_END
from itertools import groupby
from typing import IO

from airflow_provider_cij.api.records.plan import HALF, PlannedRow
from airflow_provider_cij.errors import CijError

_BUCKETS = 256
_IN_MEMORY = 20_000
# From version 3 on the bytes depend on reference counts, so equal rows could differ.
_MARSHAL_VERSION = 2
_KEY = 2 * HALF
_LINE = 8
_HEAD = _KEY + _LINE

Packed = bytes
"""A row as bytes: the digest of its key, its line, and its values by ``marshal``."""
OnDuplicate = Callable[[int, int], None]
"""Called with the line of a duplicate that is dropped, and the line of the row that is kept."""


class Spool:
    """Stores rows in any order, then yields them in the order of their keys.

    A context manager, which deletes the temporary file at its end.

    :param in_memory: rows that are kept in memory before they are written to the file; default 20,000
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self.key_size = _KEY
        """The length of the part of a digest by which keys are compared, in bytes."""
        self._in_memory = in_memory
        self._newest: list[list[Packed]] = [[] for _ in range(_BUCKETS)]
        self._held = 0
        self._parts: list[list[tuple[int, int]]] = [[] for _ in range(_BUCKETS)]
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cij-")  # noqa: SIM115  # closed in close()
        self.count = 0
        self.digest = ""

    def add(self, rows: Sequence[PlannedRow]) -> None:
        """Add rows.

        :param rows: the rows
        :raises CijError: the temporary file can't be written
        """
        newest, dumps = self._newest, marshal.dumps
        for key, line, values in rows:
            newest[key[0]].append(key + line.to_bytes(_LINE) + dumps(values, _MARSHAL_VERSION))
        self._held += len(rows)
        if self._held >= self._in_memory:
            self._spill()

    def finish(self, keep: str, on_duplicate: OnDuplicate) -> int:
        """Drop duplicates, and set ``count`` and ``digest`` to those of the whole list.

        :param keep: ``last`` keeps the last row of a key, any other value the first
        :param on_duplicate: called for each row that is dropped
        :return: the number of rows that were dropped
        :raises CijError: the temporary file can't be written
        """
        whole, dropped, size = blake2b(digest_size=16), 0, self.key_size
        for number in range(_BUCKETS):
            kept = sorted(self._bucket(number))
            if len({row[:size] for row in kept}) < len(kept):
                found, kept = sorted(kept, key=lambda row: row[:size] + row[_KEY:_HEAD]), []
                for same_key in [list(group) for _, group in groupby(found, key=lambda row: row[:size])]:
                    *others, counting = same_key if keep == "last" else reversed(same_key)
                    kept.append(counting)
                    for other in others:
                        dropped += 1
                        on_duplicate(_line(other), _line(counting))
            self.count += len(kept)
            whole.update(b"".join(row[:_KEY] + row[_HEAD:] for row in kept))
            self._newest[number] = []
            self._parts[number] = [self._write(kept)] if kept else []
        self.digest = whole.hexdigest()
        return dropped

    def windows(self, size: int) -> Iterator[list[Packed]]:
        """Yield the rows in windows, in the order of their keys.

        :param size: rows in a window; the last one may have fewer
        """
        window: list[Packed] = []
        for number in range(_BUCKETS):
            window += self._bucket(number)
            while len(window) >= size:
                yield window[:size]
                del window[:size]
        if window:
            yield window

    def close(self) -> None:
        """Drop all rows."""
        self._newest = []
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bucket(self, number: int) -> list[Packed]:
        rows: list[Packed] = []
        for offset, length in self._parts[number]:
            self._file.seek(offset)
            rows += marshal.loads(self._file.read(length))  # noqa: S302  # a file of this process that has no name
        return rows + self._newest[number]

    def _spill(self) -> None:
        for number, rows in enumerate(self._newest):
            if rows:
                self._parts[number].append(self._write(rows))
                rows.clear()
        self._held = 0

    def _write(self, rows: list[Packed]) -> tuple[int, int]:
        content = marshal.dumps(rows, _MARSHAL_VERSION)
        try:
            offset = self._file.seek(0, SEEK_END)
            self._file.write(content)
        except OSError as error:
            raise CijError(
                f"The list does not fit into the temporary folder: {error}.",
                hint="Set TMPDIR to a folder with more space.",
            ) from None
        return offset, len(content)


def key_of(row: Packed) -> bytes:
    """Return the digest of a row's key.

    :param row: the row as ``Spool.windows`` yields it
    """
    return row[:_KEY]


def unpack(row: Packed) -> PlannedRow:
    """Return a row as it was added.

    :param row: the row as ``Spool.windows`` yields it
    """
    return PlannedRow(row[:_KEY], _line(row), marshal.loads(row[_HEAD:]))  # noqa: S302  # of this process


def _line(row: Packed) -> int:
    return int.from_bytes(row[_KEY:_HEAD])
