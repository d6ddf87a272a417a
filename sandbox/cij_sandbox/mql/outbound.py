"""The segment query language of outbound marketing ("Segment query definition"): text to query.

Besides what the real-time dialect has: ``SEGMENT(name)``, ``.TRAVERSE(relationship[, alias])``, filters on any of
these and on brackets, ``MINUS``, ``CONTAINS`` / ``STARTSWITH`` / ``ENDSWITH``, ``DATEADD``, ``AND`` and ``OR``, and for
a selection ``.ORDERBY().SKIP().TAKE().SELECT()``. Names of tables and columns are taken without regard to case.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cij_sandbox.dataverse.expressions import (
    Condition,
    Every,
    Literal,
    Match,
    QueryError,
    Token,
    UnsupportedError,
    read_number,
)
from cij_sandbox.mql.language import MqlConditions

_SETS = {"UNION": "UNION", "INTERSECT": "INTERSECT", "EXCEPT": "EXCEPT", "MINUS": "EXCEPT"}
_WORDS = {"AND": "&&", "OR": "||"}
_MATCHES = {"CONTAINS": "contains", "STARTSWITH": "startswith", "ENDSWITH": "endswith"}
_SELECTING = ("ORDERBY", "SKIP", "TAKE", "SELECT")
_ELSEWHERE = ("HAVING", "DISTINCT", "COUNT", "AVG", "MIN", "MAX", "SUM", "UNION", "EXCEPT", "INTERSECT")
_SECONDS = {"DAY": 86_400, "HOUR": 3600, "MINUTE": 60, "SECOND": 1, "MILLISECOND": 0.001}
_MONTHS = {"YEAR": 12, "MONTH": 1}
T = TypeVar("T")
_MAXIMUM_SETS, _MAXIMUM_BRACKETS, _MAXIMUM_STEPS = 50, 8, 20


@dataclass(frozen=True)
class Everyone:
    """All rows of a table."""

    table: str


@dataclass(frozen=True)
class InSegment:
    """The members of another segment."""

    name: str


@dataclass(frozen=True)
class Filtered:
    """Those rows of a query that meet a condition."""

    origin: Query
    condition: Condition


@dataclass(frozen=True)
class Reached:
    """The rows a relationship leads to from those of a query."""

    origin: Query
    relationship: str


@dataclass(frozen=True)
class Combined:
    """Two queries joined by UNION, INTERSECT or EXCEPT."""

    how: str
    left: Query
    right: Query


Query = Everyone | InSegment | Filtered | Reached | Combined


@dataclass(frozen=True)
class Selection:
    """A query with the page of it that is wanted; ``order`` has pairs of a column and whether it descends."""

    query: Query
    order: tuple[tuple[str, bool], ...]
    skip: int
    take: int | None
    select: tuple[str, ...]


def parse(text: str) -> Query:
    """Parse the query of a segment."""
    return _Parser(text).segment()


def parse_selection(text: str) -> Selection:
    """Parse a query for contacts."""
    return _Parser(text).selection()


class _Parser(MqlConditions):
    date_parts = 7

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._tokens = [_as_symbol(token) for token in self._tokens]
        self._left: set[str] = set()

    def segment(self) -> Query:
        query = self._combination()
        if self.accept("."):
            raise self.unexpected("FILTER or TRAVERSE")
        self._end()
        return query

    def selection(self) -> Selection:
        query = self._combination()
        order: list[tuple[str, bool]] = []
        select: list[str] = []
        numbers: dict[str, int] = {}
        while self.accept("."):
            step = self.expect_kind("word", "ORDERBY, SKIP, TAKE or SELECT").text.upper()
            self.expect("(")
            if step in ("SKIP", "TAKE"):
                numbers[step] = self._whole_number()
            elif step == "ORDERBY":
                order = self._list_of(self._sorted)
            elif step == "SELECT":
                select = self._list_of(self.column)
            else:
                raise self.unexpected("ORDERBY, SKIP, TAKE or SELECT")
            self.expect(")")
        self._end()
        return Selection(query, tuple(order), numbers.get("SKIP", 0), numbers.get("TAKE"), tuple(select))

    def _end(self) -> None:
        if self.token.kind != "end":
            raise self.unexpected("the end of the query")

    def _combination(self) -> Query:
        query = self._operand()
        count = 0
        while self.token.kind == "word" and (how := _SETS.get(self.token.text.upper())):
            self.take()
            query = Combined(how, query, self._operand())
            count += 1
            if count > _MAXIMUM_SETS:
                raise UnsupportedError(f"more than {_MAXIMUM_SETS} set operations", self.token.position)
        return query

    def _operand(self) -> Query:
        self.alias, self._left = "", set()
        if self.accept("("):
            self._depth += 1
            if self._depth > _MAXIMUM_BRACKETS:
                raise UnsupportedError(f"more than {_MAXIMUM_BRACKETS} nested brackets", self.token.position)
            query = self._combination()
            self._depth -= 1
            self.expect(")")
            self.alias, self._left = "", set()
            return self._steps(query)
        start = self.token
        word = start.text.upper() if start.kind == "word" else ""
        if word == "INTERACTION":
            raise UnsupportedError("INTERACTION in a segment query", start.position)
        if word not in ("PROFILE", "SEGMENT"):
            raise self.unexpected("PROFILE or SEGMENT")
        self.take()
        self.expect("(")
        name = self.expect_kind("word", "a name").text
        if word == "PROFILE":
            self.alias = self.expect_kind("word", "an alias").text if self.accept(",") else name
        self.expect(")")
        return self._steps(Everyone(name.lower()) if word == "PROFILE" else InSegment(name))

    def _steps(self, query: Query) -> Query:
        count = 0
        while self.token.text == "." and self._tokens[self._index + 1].text.upper() not in _SELECTING:
            self.take()
            step = self.expect_kind("word", "FILTER or TRAVERSE")
            word = step.text.upper()
            if word in _ELSEWHERE:
                raise UnsupportedError(f"{word} in a segment query", step.position)
            self.expect("(")
            if word == "FILTER":
                condition = self.disjunction()
                # One level of SQL for filters that follow each other.
                if isinstance(query, Filtered):
                    query = Filtered(query.origin, Every((query.condition, condition)))
                else:
                    query = Filtered(query, condition)
            elif word == "TRAVERSE":
                query = Reached(query, self._traversed())
            else:
                raise QueryError(
                    f"Syntax error at position {step.position}: '{step.text}' is not a step", step.position
                )
            self.expect(")")
            count += 1
            if count > _MAXIMUM_STEPS:
                raise UnsupportedError(f"more than {_MAXIMUM_STEPS} steps", self.token.position)
        return query

    def _traversed(self) -> str:
        relationship = self.expect_kind("word", "a relationship").text
        self._left.add(self.alias)
        self.alias = ""
        if self.accept(","):
            alias = self.expect_kind("word", "an alias")
            if self.token.text == "(":
                raise UnsupportedError(f"{alias.text.upper()} inside TRAVERSE", alias.position)
            self.alias = alias.text
        return relationship

    def column(self) -> str:
        token = self.expect_kind("word", "a column name")
        if not self.accept("."):
            return token.text.lower()
        # A query for contacts may name them by the alias of its last step or not at all.
        if token.text in self._left:
            raise UnsupportedError(f"the alias '{token.text}' after TRAVERSE", token.position)
        if token.text != self.alias:
            raise QueryError(f"Syntax error at position {token.position}: unknown alias '{token.text}'", token.position)
        return self.expect_kind("word", "a column name").text.lower()

    def compared(self, column: str) -> Condition:
        how = _MATCHES.get(self.token.text.upper()) if self.token.kind == "word" else None
        if how is None:
            return super().compared(column)
        self.take()
        text = self.expect_kind("string", "a string").text
        return Match(column, how, text[1:-1].replace("''", "'"))

    def literal(self) -> Literal:
        token = self.token
        if token.kind == "word" and token.text.upper() == "DATEADD":
            self.take()
            self.expect("(")
            part = self.expect_kind("word", "a part of a date").text.upper()
            self.expect(",")
            number = self.expect_kind("number", "a number")
            self.expect(",")
            base = self.literal()
            self.expect(")")
            return _added(token, part, read_number(number), base)
        is_name = token.kind == "word" and token.text.upper() not in ("TRUE", "FALSE")
        if is_name and self._tokens[self._index + 1].text != "(":
            raise UnsupportedError(f"the comparison with '{token.text}', which is not a constant,", token.position)
        return super().literal()

    def _sorted(self) -> tuple[str, bool]:
        column = self.column()
        word = self.token.text.upper() if self.token.kind == "word" else ""
        if word in ("ASC", "DESC"):
            self.take()
        return column, word == "DESC"

    def _whole_number(self) -> int:
        token = self.expect_kind("number", "a whole number")
        if not token.text.isdigit() or len(token.text) > 9:
            raise QueryError(f"Syntax error at position {token.position}: a whole number expected", token.position)
        return int(token.text)

    def _list_of(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self.accept(","):
            found.append(read())
        return found


def _as_symbol(token: Token) -> Token:
    """Read ``AND`` and ``OR`` as the signs they stand for."""
    sign = _WORDS.get(token.text.upper()) if token.kind == "word" else None
    return Token("symbol", sign, token.position) if sign else token


def _added(token: Token, part: str, number: float, base: Literal) -> Literal:
    if base.kind != "moment" or not isinstance(base.value, int | float):
        raise QueryError(
            f"Syntax error at position {token.position}: DATEADD(part, number, date) expected", token.position
        )
    try:
        if part in _SECONDS:
            return Literal("moment", base.value + number * _SECONDS[part])
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=base.value)
        year, month = divmod(start.year * 12 + start.month - 1 + int(number) * _MONTHS[part], 12)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return Literal("moment", start.replace(year=year, month=month + 1, day=day).timestamp())
    except KeyError:
        raise QueryError(
            f"Syntax error at position {token.position}: '{part}' is no part of a date", token.position
        ) from None
    except (ValueError, OverflowError):
        raise QueryError(f"Syntax error at position {token.position}: there is no such date", token.position) from None
