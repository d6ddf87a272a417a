"""``msdynmkt_jsonpathmodifications``: values put in the places that JSONPath expressions (RFC 9535) name.

Paths of names and indexes only: ``$.a.b``, ``$['a']``, ``$.a[0]``. What is replaced must exist and keep its kind.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from cij_sandbox.journeys.problems import Problem, RefusedError

_STEP = re.compile(
    r"\.(?P<name>[^\W\d]\w*)"
    r"|\[(?P<index>0|[1-9]\d{0,8})\]"
    r"|\['(?P<single>(?:[^'\\]|\\['\\])*)'\]"
    r'|\["(?P<double>(?:[^"\\]|\\["\\])*)"\]'
)
_ESCAPED = re.compile(r"\\(.)")


def modify(document: object, text: str) -> None:
    """Carry out the modifications of a request on a document, or refuse them all."""
    problems = [problem for path, value in _read(text) for problem in _replace(document, path, value)]
    if problems:
        raise RefusedError(*problems)


def steps(path: str) -> list[str | int] | None:
    """Return the names and indexes of a path, or None when it is anything else."""
    if not path.startswith("$"):
        return None
    found: list[str | int] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return None
        if step["index"]:
            found.append(int(step["index"]))
        else:
            found.append(step["name"] or _ESCAPED.sub(r"\1", step["single"] or step["double"] or ""))
        position = step.end()
    return found or None


def loads(text: str) -> object:
    """Read JSON; raise ValueError for anything else."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


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


def _replace(document: object, path: str, text: str) -> Iterator[Problem]:
    names = steps(path) or []
    holder = document
    for name in names[:-1]:
        holder = _child(holder, name)
    current = _child(holder, names[-1]) if names else _NOTHING
    if current is _NOTHING:
        yield Problem("InvalidJsonPath", f"The JSONPath '{path}' was not found in the journey template.")
        return
    try:
        holder[names[-1]] = _converted(current, text)  # type: ignore[index]
    except ValueError:
        yield Problem(
            "InvalidJsonAfterModificationApplied", f"The value for '{path}' does not fit the element it replaces."
        )


class _Nothing:
    """What a path leads to that leads nowhere."""


_NOTHING = _Nothing()


def _child(holder: object, name: str | int) -> object:
    if isinstance(holder, dict) and isinstance(name, str):
        return holder.get(name, _NOTHING)
    if isinstance(holder, list) and isinstance(name, int) and name < len(holder):
        return holder[name]
    return _NOTHING


def _converted(current: object, text: str) -> object:
    """Return the value a text stands for in the place of another, which tells the kind."""
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
    """Read JSON, or what the document's example has for it: strings in single quotes."""
    try:
        return loads(text)
    except ValueError:
        if '"' in text:
            raise
        return loads(text.replace("'", '"'))


def _unreadable(why: str) -> RefusedError:
    return RefusedError(Problem("InvalidJsonPathModifications", f"Failed to parse the JSONPath modifications: {why}."))


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text:.20} is too large")
    return number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")
