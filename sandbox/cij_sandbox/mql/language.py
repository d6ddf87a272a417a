"""The grammar: text to query.

A query is ``PROFILE(table[, alias])``, steps such as ``.FILTER(condition)``, and ``UNION``, ``INTERSECT`` and
``EXCEPT`` of those. A condition compares a column with a constant (``== != > >= < <=``) or asks ``ISNULL(column)`` or
``ISNOTNULL(column)``. Conditions are joined by ``&&``, ``||``, ``NOT`` and parentheses; ``NOT`` binds tightest.

The outbound dialect ("Segment query definition") also has ``SEGMENT(name)``, ``.TRAVERSE(relationship[, alias])``,
steps after brackets, ``MINUS``, ``CONTAINS``, ``STARTSWITH``, ``ENDSWITH``, ``DATEADD``, ``AND`` and ``OR``, and for a
page of contacts ``.ORDERBY().SKIP().TAKE().SELECT()``. It reads names of tables and columns without regard to case.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cij_sandbox.core import values
from cij_sandbox.dataverse.expressions import (
    Compare,
    Condition,
    Every,
    IsNull,
    Literal,
    Match,
    Not,
    Parser,
    Token,
    UnsupportedError,
    read_number,
    syntax_error,
)

T = TypeVar("T")
_OPERATORS = {"==": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_SETS = {"UNION": "UNION", "INTERSECT": "INTERSECT", "EXCEPT": "EXCEPT"}
_FUNCTIONS = ("DATEDIFF", "DATEADD", "COUNT", "UTCNOW", "UTCDAYS", "UTCMONTHS", "UTCYEARS")
_SECONDS = {"DAY": 86_400, "HOUR": 3600, "MINUTE": 60, "SECOND": 1, "MILLISECOND": 0.001}
_MONTHS = {"YEAR": 12, "MONTH": 1}
_MAXIMUM_SETS, _MAXIMUM_BRACKETS, _MAXIMUM_STEPS = 50, 8, 20


@dataclass(frozen=True)
class Dialect:
    """What a generation of the product parses. It has the steps ``elsewhere``, which the sandbox does not implement."""

    sources: tuple[str, ...]
    steps: tuple[str, ...]
    elsewhere: tuple[str, ...]
    page_steps: tuple[str, ...] = ()
    sets: Mapping[str, str] = field(default_factory=lambda: _SETS)
    signs: Mapping[str, str] = field(default_factory=dict)
    matches: Mapping[str, str] = field(default_factory=dict)
    date_parts: int = 6
    is_outbound: bool = False


# AND, OR and CONTAINS do not parse, as on the real service.
REAL_TIME = Dialect(
    ("PROFILE",),
    ("FILTER",),
    ("RELATE", "RELATEOPTIONAL", "TRAVERSE", "HAVING", "ORDERBY", "SKIP", "TAKE", "SELECT"),
)
OUTBOUND = Dialect(
    ("PROFILE", "SEGMENT"),
    ("FILTER", "TRAVERSE"),
    ("HAVING", "DISTINCT", "COUNT", "AVG", "MIN", "MAX", "SUM", "UNION", "EXCEPT", "INTERSECT"),
    ("ORDERBY", "SKIP", "TAKE", "SELECT"),
    {**_SETS, "MINUS": "EXCEPT"},
    {"AND": "&&", "OR": "||"},
    {"CONTAINS": "contains", "STARTSWITH": "startswith", "ENDSWITH": "endswith"},
    date_parts=7,
    is_outbound=True,
)


@dataclass(frozen=True)
class Profile:
    """All rows of a table."""

    table: str


@dataclass(frozen=True)
class InSegment:
    """The members of another segment."""

    name: str


@dataclass(frozen=True)
class Filtered:
    """The rows of a query that meet a condition."""

    origin: Query
    condition: Condition


@dataclass(frozen=True)
class Traverse:
    """The rows to which a relationship leads from those of a query."""

    origin: Query
    relationship: str


@dataclass(frozen=True)
class Combined:
    """Two queries joined by UNION, INTERSECT or EXCEPT."""

    how: str
    left: Query
    right: Query


Query = Profile | InSegment | Filtered | Traverse | Combined


@dataclass(frozen=True)
class PageQuery:
    """A query and the page of it that is requested. ``order`` has pairs of a column and whether it descends."""

    query: Query
    order: tuple[tuple[str, bool], ...]
    skip: int
    take: int | None
    select: tuple[str, ...]


def parse(text: str, dialect: Dialect) -> Query:
    """Parse the query of a segment."""
    return _Parser(text, dialect).segment()


def parse_page(text: str) -> PageQuery:
    """Parse an outbound query for a page of contacts."""
    return _Parser(text, OUTBOUND).page()


class _Parser(Parser):
    or_word = "||"
    and_word = "&&"

    def __init__(self, text: str, dialect: Dialect) -> None:
        super().__init__(text)
        self._dialect = dialect
        self._tokens = [self._as_sign(token) for token in self._tokens]
        self._alias = ""
        self._left: set[str] = set()  # aliases from before a TRAVERSE

    def segment(self) -> Query:
        query = self._combination()
        if self._dialect.is_outbound and self.accept("."):
            raise self.unexpected(" or ".join(self._dialect.steps))
        self._end()
        return query

    def page(self) -> PageQuery:
        query = self._combination()
        order: list[tuple[str, bool]] = []
        select: list[str] = []
        numbers: dict[str, int] = {}
        while self.accept("."):
            step = self.expect_kind("word", "ORDERBY, SKIP, TAKE or SELECT").text.upper()
            self.expect("(")
            if step in ("SKIP", "TAKE"):
                numbers[step] = self._whole_number(9)
            elif step == "ORDERBY":
                order = self._list_of(self._sorted)
            elif step == "SELECT":
                select = self._list_of(self._column)
            else:
                raise self.unexpected("ORDERBY, SKIP, TAKE or SELECT")
            self.expect(")")
        self._end()
        return PageQuery(query, tuple(order), numbers.get("SKIP", 0), numbers.get("TAKE"), tuple(select))

    def single(self) -> Condition:
        """Read one condition."""
        if self.accept("!"):
            raise UnsupportedError("the operator '!' in a segment query", self.token.position)
        word = self._word()
        if word == "NOT":
            self.take()
            return Not(self.nested(self.single))
        if self.accept("("):
            condition = self.nested(self.disjunction)
            self.expect(")")
            return condition
        if word in ("ISNULL", "ISNOTNULL"):
            self.take()
            self.expect("(")
            column = self._column()
            self.expect(")")
            return IsNull(column) if word == "ISNULL" else Not(IsNull(column))
        if word in _FUNCTIONS:
            raise UnsupportedError(f"{word} in a segment query", self.token.position)
        column = self._column()
        if how := self._dialect.matches.get(self._word()):
            self.take()
            return Match(column, how, _unquoted(self.expect_kind("string", "a string")))
        if self.token.kind != "symbol" or self.token.text not in _OPERATORS:
            raise self.unexpected("a comparison operator")
        return Compare(column, _OPERATORS[self.take().text], self._literal())

    def _as_sign(self, token: Token) -> Token:
        sign = self._dialect.signs.get(token.text.upper()) if token.kind == "word" else None
        return Token("symbol", sign, token.position) if sign else token

    def _word(self) -> str:
        """Return the next token in capitals, "" when it is no word."""
        return self.token.text.upper() if self.token.kind == "word" else ""

    def _end(self) -> None:
        if self.token.kind != "end":
            raise self.unexpected("the end of the query")

    def _combination(self) -> Query:
        query = self._operand()
        count = 0
        while how := self._dialect.sets.get(self._word()):
            self.take()
            query = Combined(how, query, self._operand())
            count += 1
            if count > _MAXIMUM_SETS:
                raise UnsupportedError(f"more than {_MAXIMUM_SETS} set operations", self.token.position)
        return query

    def _operand(self) -> Query:
        self._alias, self._left = "", set()
        if self.accept("("):
            self._depth += 1
            if self._depth > _MAXIMUM_BRACKETS:
                raise UnsupportedError(f"more than {_MAXIMUM_BRACKETS} nested brackets", self.token.position)
            query = self._combination()
            self._depth -= 1
            self.expect(")")
            self._alias, self._left = "", set()
            return self._steps(query) if self._dialect.is_outbound else query
        word = self._word()
        if word not in self._dialect.sources:
            if word in ("SEGMENT", "INTERACTION"):
                raise UnsupportedError(f"{word}() in a segment query", self.token.position)
            raise self.unexpected(" or ".join(self._dialect.sources))
        self.take()
        self.expect("(")
        name = self.expect_kind("word", "a name").text
        if word == "PROFILE":
            self._alias = self.expect_kind("word", "an alias").text if self.accept(",") else name
        self.expect(")")
        return self._steps(Profile(self._folded(name)) if word == "PROFILE" else InSegment(name))

    def _steps(self, query: Query) -> Query:
        count = 0
        filters: list[Condition] = []  # filters in a row are one condition, so that SQL does not nest
        while self.token.text == "." and self._tokens[self._index + 1].text.upper() not in self._dialect.page_steps:
            self.take()
            step = self.expect_kind("word", " or ".join(self._dialect.steps))
            word = step.text.upper()
            if word in self._dialect.elsewhere:
                raise UnsupportedError(f"{word} in a segment query", step.position)
            if word not in self._dialect.steps:
                raise syntax_error(step.position, f"'{step.text}' is not a step")
            self.expect("(")
            if word == "FILTER":
                filters.append(self.disjunction())
            else:
                query, filters = Traverse(_filtered(query, filters), self._traversed()), []
            self.expect(")")
            count += 1
            if self._dialect.is_outbound and count > _MAXIMUM_STEPS:
                raise UnsupportedError(f"more than {_MAXIMUM_STEPS} steps", self.token.position)
        return _filtered(query, filters)

    def _traversed(self) -> str:
        relationship = self.expect_kind("word", "a relationship").text
        self._left.add(self._alias)
        self._alias = ""
        if self.accept(","):
            alias = self.expect_kind("word", "an alias")
            if self.token.text == "(":
                raise UnsupportedError(f"{alias.text.upper()} inside TRAVERSE", alias.position)
            self._alias = alias.text
        return relationship

    def _column(self) -> str:
        """Read a column, with or without the alias of the last step."""
        token = self.expect_kind("word", "a column name")
        if not self.accept("."):
            return self._folded(token.text)
        if token.text in self._left:
            raise UnsupportedError(f"the alias '{token.text}' after TRAVERSE", token.position)
        if token.text != self._alias:
            raise syntax_error(token.position, f"unknown alias '{token.text}'")
        return self._folded(self.expect_kind("word", "a column name").text)

    def _folded(self, name: str) -> str:
        return name.lower() if self._dialect.is_outbound else name

    def _literal(self) -> Literal:
        token, word = self.token, self._word()
        if token.kind == "string":
            return Literal("string", _unquoted(self.take()))
        if token.kind == "number":
            return Literal("number", read_number(self.take()))
        if word in ("TRUE", "FALSE"):
            self.take()
            return Literal("boolean", int(word == "TRUE"))
        is_call = self._tokens[min(self._index + 1, len(self._tokens) - 1)].text == "("
        if self._dialect.is_outbound and word not in ("", "DATEADD") and not is_call:
            raise UnsupportedError(f"the comparison with '{token.text}', which is not a constant,", token.position)
        if word in ("DATE", "DATETIMEUTCNOW") or (word == "DATEADD" and self._dialect.is_outbound):
            read = {"DATE": self._date, "DATETIMEUTCNOW": _now, "DATEADD": self._date_add}[word]
            self.take()
            self.expect("(")
            literal = Literal("moment", read(token.position))
            self.expect(")")
            return literal
        if word in _FUNCTIONS:
            raise UnsupportedError(f"{word} in a segment query", token.position)
        raise self.unexpected("a constant")

    def _date(self, position: int) -> float:
        parts = self._list_of(lambda: self._whole_number(4))
        try:
            if not 3 <= len(parts) <= self._dialect.date_parts:
                raise ValueError
            moment = datetime(*parts[:6], *(1000 * part for part in parts[6:]), tzinfo=UTC)  # type: ignore[misc, arg-type]
        except (ValueError, OverflowError):
            raise syntax_error(position, "DATE(year, month, day[, h, m, s]) expected") from None
        return moment.timestamp()

    def _date_add(self, position: int) -> float:
        part = self.expect_kind("word", "a part of a date").text.upper()
        self.expect(",")
        number = read_number(self.expect_kind("number", "a number"))
        self.expect(",")
        base = self._literal()
        if base.kind != "moment" or not isinstance(base.value, int | float):
            raise syntax_error(position, "DATEADD(part, number, date) expected")
        try:
            if part in _SECONDS:
                return base.value + number * _SECONDS[part]
            start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=base.value)
            year, month = divmod(start.year * 12 + start.month - 1 + int(number) * _MONTHS[part], 12)
            day = min(start.day, calendar.monthrange(year, month + 1)[1])
            return start.replace(year=year, month=month + 1, day=day).timestamp()
        except KeyError:
            raise syntax_error(position, f"'{part}' is no part of a date") from None
        except (ValueError, OverflowError):
            raise syntax_error(position, "there is no such date") from None

    def _sorted(self) -> tuple[str, bool]:
        column, word = self._column(), self._word()
        if word in ("ASC", "DESC"):
            self.take()
        return column, word == "DESC"

    def _whole_number(self, digits: int) -> int:
        token = self.expect_kind("number", "a whole number")
        if not token.text.isdigit() or len(token.text) > digits:
            raise syntax_error(token.position, "a whole number expected")
        return int(token.text)

    def _list_of(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self.accept(","):
            found.append(read())
        return found


def _filtered(query: Query, conditions: list[Condition]) -> Query:
    if not conditions:
        return query
    return Filtered(query, conditions[0] if len(conditions) == 1 else Every(tuple(conditions)))


def _unquoted(token: Token) -> str:
    return token.text[1:-1].replace("''", "'")


def _now(_position: int) -> float:
    return float(values.now())
