"""How far an upsert got: what a later try needs to count truly. Pure.

The rows of a list are written in pieces, in an order of their own. Before a piece is written it is noted what each of
its rows is about to become. A later try finds rows that the earlier one wrote, and knows from the note that it created
or changed them.
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
# Airflow's store takes 64 KB.
_ROOM = 48_000


@dataclass
class UpsertCheckpoint:
    """The progress of one list.

    :param note: stores the progress; called before a piece is written, and after it
    :param done: the pieces that need nothing more; default none
    :param intended: for pieces that were begun, what each of their rows was to become, as stored; default none
    :param counts: the outcomes of the rows in ``done``; default none
    """

    note: Callable[[dict[str, Any]], None] = lambda _: None
    done: set[int] = field(default_factory=set)
    intended: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None, note: Callable[[dict[str, Any]], None]) -> UpsertCheckpoint:
        """Read what ``note`` was given.

        :param stored: the stored progress; None for none
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
            raise CijInputError("What an earlier try noted of its progress can't be read.") from None

    def intentions(self, number: int) -> list[str] | None:
        """Return what the rows of a piece were to become when it was begun, None when it never was.

        :param number: the piece
        """
        text = self.intended.get(number)
        return None if text is None else [_OUTCOMES[code] for code in zlib.decompress(b64decode(text))]

    def begin(self, number: int, outcomes: Sequence[str]) -> None:
        """Note what the rows of a piece are about to become.

        :param number: the piece
        :param outcomes: of its rows, in their order
        """
        codes = bytes([_CODES[outcome] for outcome in outcomes])
        self.intended[number] = b64encode(zlib.compress(codes)).decode()
        self._store()

    def end(self, number: int, counts: Mapping[str, int]) -> None:
        """Note that all rows of a piece are written. One with failed rows is tried again by a later try.

        :param number: the piece
        :param counts: the outcomes of its rows
        """
        if not counts.get(FAILED):
            self.done.add(number)
            self.intended.pop(number, None)
            self.counts.update(counts)
            self._store()

    def _store(self) -> None:
        intended: dict[str, str] = {}
        room = _ROOM
        for number in sorted(self.intended, reverse=True):  # the newest are surely not written
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
