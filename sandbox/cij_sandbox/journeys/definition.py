"""Read and check the JSON of a journey. A problem has a code of the document's list and a message."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cij_sandbox.core import values

_MAXIMUM_DEPTH = 100
TIMED_OUT = "UnableToSaveJourneyEntityDueToTimeout"
TRIGGER_TYPES = {"Recurring": 0, "Ongoing": 1, "OneTime": 2, "Event": 3}


@dataclass(frozen=True)
class Problem:
    """One entry of ``msdynmkt_errors``."""

    code: str
    message: str


class RefusedError(Exception):
    """A request is refused, with all problems found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True)
class Definition:
    """The parts of a journey that are checked. Times are as written, "" when they are missing."""

    trigger_type: str
    audience: str
    exclusions: tuple[str, ...]
    suppressions: tuple[str, ...]
    event: str
    start: str
    end: str
    tables: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def other_segments(self) -> tuple[str, ...]:
        """The exclusion and suppression segments."""
        return (*self.exclusions, *self.suppressions)

    @property
    def segments(self) -> tuple[str, ...]:
        """All segments of the journey."""
        return (self.audience, *self.other_segments) if self.audience else self.other_segments


def loads(text: str) -> object:
    """Read JSON; raise ValueError for anything else."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def document_of(text: str, code: str = "InvalidJson") -> dict[str, object]:
    """Read the JSON of a journey, or raise RefusedError with a code."""
    try:
        document = loads(text)
    except ValueError as problem:
        raise RefusedError(Problem(code, f"The journey JSON could not be read: {problem}.")) from None
    if not isinstance(document, dict):
        raise RefusedError(Problem(code, "The journey JSON is not an object."))
    return document


def read(document: Mapping[str, object]) -> Definition:
    """Read the parts of a journey, or raise RefusedError (InvalidJson) for one of the wrong kind."""
    if _is_deeper(document, _MAXIMUM_DEPTH):
        raise RefusedError(Problem("InvalidJson", "The journey JSON is nested too deeply."))
    trigger, exits = _object(document, "trigger"), _object(document, "exitCriteria")
    parameters = _object(trigger, "parameters")
    return Definition(
        trigger_type=_text(trigger, "type"),
        audience=_text(trigger, "audience"),
        exclusions=_texts(trigger, "exclusionSegments"),
        suppressions=_texts(exits, "suppressionSegments"),
        event=_text(trigger, "eventName"),
        start=_text(parameters, "startTime"),
        end=_text(parameters, "endTime"),
        tables=_texts(document, "targetEntityLogicalNames") or ("contact",),
        messages=tuple(dict.fromkeys(_messages(_object(document, "actions")))),
    )


def moment(text: str) -> float | None:
    """Return a time of a journey in seconds since 1970, or None when it cannot be read."""
    return values.read_moment(text)


def set_given(document: dict[str, object], name: str | None, start: float | None, end: float | None) -> None:
    """Write the name and times of a request into the properties that "Internal properties" of the document names."""
    if name is not None:
        document["name"] = name
    times = {"startTime": start, "endTime": end}
    given = {key: values.write_moment(time) for key, time in times.items() if time is not None}
    trigger = _object(document, "trigger")
    if given and trigger:
        document["trigger"] = {**trigger, "parameters": {**_object(trigger, "parameters"), **given}}


def as_text(problems: Iterable[Problem], names: str = "ErrorCode, ErrorMessage", nothing: str = "[]") -> str:
    """Return problems as JSON, with the property names and the empty value of the document or of an organisation."""
    first, second = names.split(", ")
    listed = [{first: problem.code, second: problem.message} for problem in problems]
    return json.dumps(listed, separators=(",", ":")) if listed else nothing


def timed_out() -> dict[str, object]:
    """Return the outputs of a request to create a journey, whether it was created or not."""
    problem = Problem(TIMED_OUT, "Timeout occurred while saving the journey. The journey might have been created.")
    return {"msdynmkt_journeyid": None, "msdynmkt_isvalid": False, "msdynmkt_errors": as_text([problem])}


def _messages(actions: object) -> Iterator[str]:
    """Yield the e-mails of all actions, including those in branches."""
    if not isinstance(actions, dict):
        return
    for key, value in actions.items():
        if key == "parameters" and isinstance(value, dict) and isinstance(value.get("contentId"), str):
            yield value["contentId"]
        yield from _messages(value)


def _is_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        holders = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [child for holder in holders for child in holder]
    return bool(level)


def _object(holder: Mapping[str, object], name: str) -> dict[str, object]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    return value


def _text(holder: Mapping[str, object], name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str | None):
        raise _wrong(name, "a string")
    return (value or "").strip()


def _texts(holder: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = holder.get(name)
    listed = [] if value is None else value
    texts = tuple(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else None
    if texts is None or list(texts) != listed:
        raise _wrong(name, "a list of strings")
    return texts


def _wrong(name: str, expected: str) -> RefusedError:
    return RefusedError(Problem("InvalidJson", f"'{name}' in the journey JSON is not {expected}."))


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text:.20} is too large")
    return number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")
