"""Fault rules: small JSON objects that say which requests fail and how. The decision is pure."""

from __future__ import annotations

import difflib
import functools
import json
import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from cij_sandbox.faults.limits import CONCURRENT, EXECUTION, REQUESTS

_LONGEST_PATH = 1000
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
_WITH_ANY = frozenset({"fault", "path", "method", "count", "after", "probability", "seed"})
_GATEWAY = frozenset({"body", "processed", "retry_after", "retry_after_date"})
# What goes wrong on the first day: at the login endpoint, and for the user of the organisation.
LOGIN_REFUSALS = ("expired_secret", "wrong_secret", "unknown_application", "unknown_tenant")
USER_REFUSALS = ("no_application_user", "no_role", "disabled_user")
_MISSING = "missing_privilege"
# The options of each fault.
_FAULTS: dict[str, frozenset[str]] = {
    "400": frozenset({"processed"}),
    "401": frozenset({"invalidate"}),
    "429": frozenset({"code", "retry_after", "retry_after_date"}),
    "500": _GATEWAY,
    "502": _GATEWAY,
    "503": _GATEWAY,
    "504": _GATEWAY,
    "reset": frozenset({"close"}),
    "lost": frozenset({"close"}),
    "slow": frozenset({"delay", "reply_delay"}),
    "truncated": frozenset({"consistent"}),
    "html200": frozenset(),
    "save_timeout": frozenset({"processed"}),
    "sql_timeout": frozenset(),
    "deadlock": frozenset(),
    **{name: frozenset() for name in (*LOGIN_REFUSALS, *USER_REFUSALS)},
    _MISSING: frozenset({"table", "operation"}),
}
# They apply wherever the service would refuse: no path or method selects among requests.
_EVERYWHERE = (*LOGIN_REFUSALS, *USER_REFUSALS, _MISSING)
_DEFAULTS: dict[str, dict[str, Any]] = {
    "429": {"retry_after": 1},
    "reset": {"close": "rst"},
    "lost": {"processed": True},
    "slow": {"processed": True},
    "truncated": {"processed": True},
    "save_timeout": {"processed": True, "path": "/msdynmkt_CreateJourneyFromTemplate$"},
    **{name: {"path": "/oauth2/"} for name in LOGIN_REFUSALS},
    # Discovery comes first, and has the tenant's id in its path too.
    "unknown_tenant": {"path": "^/*-*-*-*-*/"},
}


@dataclass(frozen=True)
class Fault:
    """A rule: which requests it applies to, how often, and what happens to them."""

    fault: str
    path: str = "^/api/data/"
    method: str | None = None
    count: int | None = None
    after: int = 0
    probability: float = 1
    seed: int | None = None
    code: str = REQUESTS
    retry_after: int | None = None
    retry_after_date: int | None = None
    body: str | None = None
    processed: bool = False
    close: str = "eof"
    delay: float = 0
    reply_delay: float = 0
    consistent: bool = False
    invalidate: bool = False
    table: str | None = None
    operation: str | None = None
    given: Mapping[str, object] = field(default_factory=dict)

    def matches(self, method: str, path: str) -> bool:
        """Return whether the rule covers such a request."""
        if self.fault == _MISSING or (self.fault in LOGIN_REFUSALS and path.startswith("/api/")):
            return False
        return self.method in (None, method) and _is_in(self.path, path)

    def takes_away(self, table: str, operation: str) -> bool:
        """Return whether the rule takes a privilege away."""
        wanted = self.table in (None, table) and self.operation in (None, operation.lower())
        return self.fault == _MISSING and wanted

    def hurried(self, longest: float) -> Fault:
        """Return the rule with a ``Retry-After`` of at most ``longest`` seconds."""
        seconds, until = self.retry_after, self.retry_after_date
        return replace(
            self,
            retry_after=None if seconds is None else int(min(seconds, longest)),
            retry_after_date=None if until is None else int(min(until, longest)),
        )

    def headers(self, now: float) -> dict[str, str]:
        """Return the ``Retry-After`` of the rule, if it has one."""
        if self.retry_after_date is not None:
            # Rounded up: a date has whole seconds, and must not be too early.
            return {"Retry-After": formatdate(math.ceil(now + self.retry_after_date), usegmt=True)}
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Faults:
    """The active rules. The first one that applies to a request wins; later ones do not count it.

    ``tables`` are the logical names that a rule may give.
    """

    def __init__(self, seed: int = 1, tables: Collection[str] = ()) -> None:
        self._seed = seed
        self._tables = tables
        self._rules: list[_Rule] = []
        self.longest_retry_after: float = math.inf

    def add(self, faults: Iterable[Fault]) -> None:
        """Add rules, or raise ValueError for a table that does not exist."""
        faults = list(faults)
        for fault in faults:
            if fault.table is not None and fault.table not in self._tables:
                near = difflib.get_close_matches(fault.table, self._tables)
                hint = f"did you mean {', '.join(near)}?" if near else "give its logical name"
                raise ValueError(f"There is no table {_short(fault.table)}: {hint}")
        for fault in faults:
            # The position counts too, so that two equal rules do not draw the same numbers.
            seed = f"{self._seed}/{len(self._rules)}" if fault.seed is None else fault.seed
            self._rules.append(_Rule(fault, random.Random(seed).random))  # noqa: S311 - reproducible is the point

    def clear(self) -> None:
        """Delete all rules, and restart the sequence of random draws."""
        self._rules.clear()

    def shown(self) -> list[dict[str, object]]:
        """Return each rule as it was given, with the number of requests it has seen and struck."""
        return [{"rule": dict(rule.fault.given), "seen": rule.seen, "struck": rule.struck} for rule in self._rules]

    def match(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, or None."""
        for rule in self._rules:
            if rule.fault.matches(method, path) and rule.applies():
                return rule.fault.hurried(self.longest_retry_after)
        return None

    def is_missing(self, table: str, operation: str) -> bool:
        """Return whether a rule takes a privilege away."""
        return any(rule.fault.takes_away(table, operation) and rule.applies() for rule in self._rules)


@dataclass
class _Rule:
    fault: Fault
    draw: Callable[[], float]
    seen: int = 0
    struck: int = 0

    def applies(self) -> bool:
        self.seen += 1
        if self.seen <= self.fault.after or self.struck == self.fault.count:
            return False
        applies = self.draw() < self.fault.probability
        self.struck += applies
        return applies


def read(content: object) -> list[Fault]:
    """Read a rule or a list of rules, or raise ValueError that says what is wrong."""
    return [_read(rule) for rule in (content if isinstance(content, list) else [content])]


def _read(rule: object) -> Fault:
    if not isinstance(rule, dict) or rule.get("fault") not in tuple(_FAULTS):
        raise ValueError(f'A fault is a JSON object whose "fault" is one of {", ".join(_FAULTS)}: {_short(rule)}')
    name = rule["fault"]
    takes = (_WITH_ANY - {"path", "method"} if name in _EVERYWHERE else _WITH_ANY) | _FAULTS[name]
    for key, value in rule.items():
        if key not in takes:
            raise ValueError(f"The fault {name} takes no {_short(key)}; it takes {', '.join(sorted(takes))}")
        good, expected = _VALUES[key]
        if not good(value):
            raise ValueError(f'"{key}" of the fault {name} is {expected}, not {_short(value)}')
    if "retry_after" in rule and "retry_after_date" in rule:
        raise ValueError(f'The fault {name} takes "retry_after" or "retry_after_date", not both')
    if name == "slow" and not rule.keys() & _FAULTS[name]:
        raise ValueError(
            'The fault slow wants a "delay" before it is processed, a "reply_delay" before the reply, or both'
        )
    return Fault(**{**_DEFAULTS.get(name, {}), **rule}, given=rule)


def _short(value: object) -> str:
    return json.dumps(value)[:100]


@functools.lru_cache(maxsize=1024)
def _pieces(pattern: str) -> tuple[str, ...]:
    """Return the anchors of a path pattern (``^``, ``$``, both or none), then its texts between the ``*``.

    :raises ValueError: the pattern uses other syntax of regular expressions
    """
    ends = "^" * pattern.startswith("^") + "$" * (pattern.endswith("$") and not pattern.endswith("\\$"))
    inner = pattern.removeprefix("^")
    inner = inner[: len(inner) - ("$" in ends)].replace(".*", "*")
    pieces = [""]
    signs = iter(inner)
    for sign in signs:
        if sign == "\\":
            sign = next(signs, "")  # the sign itself
            if not sign or sign.isalnum():
                raise ValueError
        elif sign == "*":
            pieces.append("")
            continue
        elif sign in "[]{}+?|^$":
            raise ValueError
        pieces[-1] += sign
    return ends, *pieces


def _is_in(pattern: str, path: str) -> bool:
    """Return whether a path matches a pattern, in linear time."""
    ends, *pieces = _pieces(pattern)
    if ends == "^$" and len(pieces) == 1:
        return path == pieces[0]
    start, stop = 0, len(path)
    if "^" in ends:
        first = pieces.pop(0)
        if not path.startswith(first):
            return False
        start = len(first)
    if "$" in ends:
        last = pieces.pop()
        stop -= len(last)
        if stop < start or not path.endswith(last):
            return False
    for piece in pieces:
        start = path.find(piece, start, stop)
        if start < 0:
            return False
        start += len(piece)
    return True


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value.encode()) <= _LONGEST_PATH and bool(_pieces(value))
    except ValueError:
        return False


def _one_of(*values: str) -> tuple[Callable[[Any], bool], str]:
    return values.__contains__, f"one of {', '.join(values)}"


def _whole(least: int, most: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) is int and least <= value <= most, f"a whole number from {least:,} to {most:,}"


def _number(most: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) in (int, float) and 0 <= value <= most, f"a number from 0 to {most:,}"


_DAY = 86_400
_FLAG: tuple[Callable[[Any], bool], str] = (lambda value: type(value) is bool, "true or false")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "fault": _one_of(*_FAULTS),
    "path": (
        _is_pattern,
        f"a part of the path of up to {_LONGEST_PATH:,} characters, with * for anything, and ^ and $ for its ends",
    ),
    "method": _one_of(*_METHODS),
    "count": _whole(1, 1_000_000),
    "after": _whole(0, 1_000_000),
    "probability": _number(1),
    "seed": _whole(0, 2**63),
    "code": _one_of(REQUESTS, EXECUTION, CONCURRENT),
    "retry_after": (lambda value: value is None or _whole(0, _DAY)[0](value), f"null or {_whole(0, _DAY)[1]}"),
    "retry_after_date": _whole(0, _DAY),
    "body": _one_of("html", "json"),
    "processed": _FLAG,
    "invalidate": _FLAG,
    "consistent": _FLAG,
    "close": _one_of("rst", "eof"),
    "table": (lambda value: isinstance(value, str), "the logical name of a table"),
    "operation": _one_of("create", "read", "write", "delete", "append", "appendto"),
    "delay": _number(_DAY),
    "reply_delay": _number(_DAY),
}
