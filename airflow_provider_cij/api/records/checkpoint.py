"""The checkpoint of an upsert, with which a retry counts rows correctly. Pure.

Rows are written window by window, ordered by key. Before a window is written, the intended outcome of each of its rows
is stored. A retry finds rows that an earlier try wrote, and counts them by the stored outcomes as created or updated.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cij.errors import CijInputError

CREATED, UPDATED, UNCHANGED, NOT_FOUND, EXISTING, FAILED = (
    *("created", "updated", "unchanged"),
    *("not_found", "existing", "failed"),
)
_OUTCOMES = (CREATED, UPDATED, UNCHANGED, NOT_FOUND, EXISTING, FAILED)
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
# Airflow's task state store takes 64 KB.
_ROOM = 48_000


@dataclass
class UpsertCheckpoint:
    """The progress of one list.

    :param note: stores the progress; called before and after a window is written
    :param done: numbers of the windows that are complete; default none
    :param intended: the intended outcomes of windows that were begun, encoded; default none
    :param counts: the outcomes of the rows in ``done``; default none
    """

    note: Callable[[dict[str, Any]], None] = lambda _: None
    done: set[int] = field(default_factory=set)
    intended: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None, note: Callable[[dict[str, Any]], None]) -> UpsertCheckpoint:
        """Read a stored checkpoint.

        :param stored: the stored progress; None, there is none
        :param note: stores the progress
        :raises CijInputError: it can't be read
        """
        try:
            found = stored or {}
            return cls(
                note,
                {number for first, last in found.get("done", ()) for number in range(first, last + 1)},
                {int(number): str(text) for number, text in found.get("intended", {}).items()},
                Counter({str(name): int(count) for name, count in found.get("counts", {}).items()}),
            )
        except (AttributeError, TypeError, ValueError):
            raise CijInputError("The checkpoint of an earlier try can't be read.") from None

    def intentions(self, number: int) -> list[str] | None:
        """Return the intended outcomes of a window's rows, None when it was never begun.

        :param number: the window's number
        """
        text = self.intended.get(number)
        return None if text is None else [_OUTCOMES[code] for code in zlib.decompress(b64decode(text))]

    def begin(self, number: int, outcomes: Sequence[str]) -> None:
        """Store the intended outcomes of a window, before it is written.

        :param number: the window's number
        :param outcomes: the outcome of each row, in their order
        """
        codes = bytes([_CODES[outcome] for outcome in outcomes])
        self.intended[number] = b64encode(zlib.compress(codes)).decode()
        self._store()

    def end(self, number: int, counts: Mapping[str, int]) -> None:
        """Store that all rows of a window are written. A window with failed rows is written again by a retry.

        :param number: the window's number
        :param counts: how many rows have each outcome
        """
        if not counts.get(FAILED):
            self.done.add(number)
            self.intended.pop(number, None)
            self.counts.update(counts)
            self._store()

    def _store(self) -> None:
        intended: dict[str, str] = {}
        room = _ROOM
        for number in sorted(self.intended, reverse=True):  # the newest are the most likely to be unwritten
            room -= len(self.intended[number])
            if room > 0:
                intended[str(number)] = self.intended[number]
        self.note({"done": _ranges(self.done), "intended": intended, "counts": dict(self.counts)})


def _ranges(numbers: set[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs
