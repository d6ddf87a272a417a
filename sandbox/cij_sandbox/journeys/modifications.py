"""Apply ``msdynmkt_jsonpathmodifications``: new values for the elements that JSONPath expressions (RFC 9535) select.

An element keeps its type. A path that selects nothing, or the whole document, is refused.
"""

from __future__ import annotations

import json

from jsonpath import JSONPathEnvironment, JSONPathError, JSONPathMatch

from cij_sandbox.core import assumptions
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.journeys.definition import Problem, RefusedError, loads

_PATHS = JSONPathEnvironment(strict=True)


def modify(document: object, text: str) -> None:
    """Apply the modifications of a request to a document, or raise RefusedError with all problems."""
    problems = []
    for path, value in _read(text):
        places = _places(document, path)
        if not places:
            assumptions.check("journeys.path-finds-nothing", f"The JSONPath '{path}' finds nothing")
            if assumed("journeys.path-finds-nothing") == "ignored":
                continue
            message = f"The JSONPath '{path}' was not found in the journey template."
            problems.append(Problem(assumed("journeys.path-finds-nothing"), message))
            continue
        try:
            values = [_converted(place.obj, value) for place in places]
        except ValueError:
            message = f"The value for '{path}' does not fit the element it replaces."
            problems.append(Problem("InvalidJsonAfterModificationApplied", message))
            continue
        for place, converted in zip(places, values, strict=True):
            assert place.parent is not None  # noqa: S101 - it is not the root
            place.parent.obj[place.parts[-1]] = converted  # type: ignore[index]
    if problems:
        raise RefusedError(*problems)


def _places(document: object, path: str) -> list[JSONPathMatch]:
    """Return the elements that a path selects; none for the root and for a malformed path."""
    try:
        found = list(_PATHS.finditer(path, document))  # type: ignore[arg-type]
    except (JSONPathError, RecursionError):
        return []
    return found if all(match.parts for match in found) else []


def _read(text: str) -> list[tuple[str, str]]:
    try:
        found = loads(text)
    except ValueError as problem:
        raise _unreadable(str(problem)) from None
    if not isinstance(found, dict):
        raise _unreadable("a JSON object was expected")
    for path, value in found.items():
        # Assumption: numbers and booleans are read as the strings they are written with; lists and objects are not.
        if value is None or isinstance(value, list | dict):
            raise _unreadable(f"the value of {path} is not a string")
    return [(path, value if isinstance(value, str) else json.dumps(value)) for path, value in found.items()]


def _converted(current: object, text: str) -> object:
    """Convert a text to the type of the value that it replaces."""
    if isinstance(current, str):
        return text
    if current is None:
        try:
            value = _lenient(text)
        except ValueError:
            return text
        return value if isinstance(value, list | dict) else text
    value = _lenient(text)
    if _kind(value) != _kind(current):
        raise ValueError
    return value


def _kind(value: object) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _lenient(text: str) -> object:
    """Parse JSON, also with strings in single quotes as in the document's example."""
    try:
        return loads(text)
    except ValueError:
        if '"' in text:
            raise
        return loads(text.replace("'", '"'))


def _unreadable(why: str) -> RefusedError:
    return RefusedError(Problem("InvalidJsonPathModifications", f"Failed to parse the JSONPath modifications: {why}."))
