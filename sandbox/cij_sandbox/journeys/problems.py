"""What is wrong with a journey: a code of the document's list and a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

TIMED_OUT = "UnableToSaveJourneyEntityDueToTimeout"


@dataclass(frozen=True)
class Problem:
    """One error of ``msdynmkt_errors``."""

    code: str
    message: str


class RefusedError(Exception):
    """Problems no journey can be made with."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


def as_text(problems: Iterable[Problem], *, live: bool = False) -> str:
    """Write problems as the document shows them, or as a live organisation was seen to."""
    first, second = ("errorCode", "errorMessage") if live else ("ErrorCode", "ErrorMessage")
    listed = [{first: problem.code, second: problem.message} for problem in problems]
    return json.dumps(listed or None if live else listed, separators=(",", ":"))


def timed_out() -> dict[str, object]:
    """Return the outputs of a journey that may or may not have been saved."""
    problem = Problem(TIMED_OUT, "Timeout occurred while saving the journey. The journey might have been created.")
    return {"msdynmkt_journeyid": None, "msdynmkt_isvalid": False, "msdynmkt_errors": as_text([problem])}
