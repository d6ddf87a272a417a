"""The segment query language of real-time journeys: text to query.

Understood: ``PROFILE(table[, alias])``, ``.FILTER(condition)``, and ``UNION``, ``INTERSECT``, ``EXCEPT`` of those.
A condition compares a column with a constant (``== != > >= < <=``) or asks ``ISNULL(column)`` / ``ISNOTNULL(column)``;
conditions are joined by ``&&``, ``||``, ``NOT`` and parentheses, ``NOT`` binding tightest. The words ``AND``, ``OR``
and ``CONTAINS`` do not parse, as on the real service. What needs other tables is refused as not implemented.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cij_sandbox.core import values
from cij_sandbox.dataverse.expressions import (
    Compare,
    Condition,
    Every,
    IsNull,
    Literal,
    Not,
    Parser,
    QueryError,
    UnsupportedError,
    read_number,
)

_OPERATORS = {"==": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_SETS = ("UNION", "INTERSECT", "EXCEPT")
_OTHER_SOURCES = ("SEGMENT", "INTERACTION")
_OTHER_STEPS = ("RELATE", "RELATEOPTIONAL", "TRAVERSE", "HAVING", "ORDERBY", "SKIP", "TAKE", "SELECT")
_OTHER_FUNCTIONS = ("DATEDIFF", "DATEADD", "COUNT", "UTCNOW", "UTCDAYS", "UTCMONTHS", "UTCYEARS")
_MAXIMUM_SETS, _MAXIMUM_BRACKETS = 50, 8


@dataclass(frozen=True)
class Profile:
    """The rows of a table that meet a condition."""

    table: str
    condition: Condition | None


@dataclass(frozen=True)
class Combined:
    """Two queries joined by UNION, INTERSECT or EXCEPT."""

    how: str
    left: Query
    right: Query


Query = Profile | Combined


def parse(text: str) -> Query:
    """Parse a segment query."""
    return _MqlParser(text).whole()


class MqlConditions(Parser):
    """What all dialects of segment queries have in common: conditions and constants."""

    or_word = "||"
    and_word = "&&"
    alias = ""
    date_parts = 6

    def single(self) -> Condition:
        """Read one condition."""
        if self.accept("!"):
            raise UnsupportedError("the operator '!' in a segment query", self.token.position)
        word = self.token.text.upper() if self.token.kind == "word" else ""
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
            column = self.column()
            self.expect(")")
            return IsNull(column) if word == "ISNULL" else Not(IsNull(column))
        if word in _OTHER_FUNCTIONS:
            raise UnsupportedError(f"{word} in a segment query", self.token.position)
        return self.compared(self.column())

    def compared(self, column: str) -> Condition:
        """Read what follows a column."""
        if self.token.kind != "symbol" or self.token.text not in _OPERATORS:
            raise self.unexpected("a comparison operator")
        return Compare(column, _OPERATORS[self.take().text], self.literal())

    def column(self) -> str:
        """Read a column, with or without the alias of its table."""
        token = self.expect_kind("word", "a column name")
        if not self.accept("."):
            return token.text
        if token.text != self.alias:
            raise QueryError(f"Syntax error at position {token.position}: unknown alias '{token.text}'", token.position)
        return self.expect_kind("word", "a column name").text

    def literal(self) -> Literal:
        """Read a constant."""
        token = self.token
        word = token.text.upper() if token.kind == "word" else ""
        if token.kind == "string":
            self.take()
            return Literal("string", token.text[1:-1].replace("''", "'"))
        if token.kind == "number":
            self.take()
            return Literal("number", read_number(token))
        if word in ("TRUE", "FALSE"):
            self.take()
            return Literal("boolean", int(word == "TRUE"))
        if word in ("DATE", "DATETIMEUTCNOW"):
            self.take()
            self.expect("(")
            literal = Literal("moment", float(values.now())) if word == "DATETIMEUTCNOW" else self._date(token.position)
            self.expect(")")
            return literal
        if word in _OTHER_FUNCTIONS:
            raise UnsupportedError(f"{word} in a segment query", token.position)
        raise self.unexpected("a constant")

    def _date(self, position: int) -> Literal:
        parts = [int(self._date_part())]
        while self.accept(","):
            parts.append(int(self._date_part()))
        try:
            if not 3 <= len(parts) <= self.date_parts:
                raise ValueError
            moment = datetime(*parts[:6], *(1000 * part for part in parts[6:]), tzinfo=UTC)  # type: ignore[misc, arg-type]
        except (ValueError, OverflowError):
            raise QueryError(
                f"Syntax error at position {position}: DATE(year, month, day[, h, m, s]) expected", position
            ) from None
        return Literal("moment", moment.timestamp())

    def _date_part(self) -> str:
        token = self.expect_kind("number", "a whole number")
        if not token.text.isdigit() or len(token.text) > 4:
            raise QueryError(f"Syntax error at position {token.position}: a whole number expected", token.position)
        return token.text


class _MqlParser(MqlConditions):
    def whole(self) -> Query:
        query = self._query()
        if self.token.kind != "end":
            raise self.unexpected("the end of the query")
        return query

    def _query(self) -> Query:
        query = self._operand()
        count = 0
        while self.token.kind == "word" and (how := self.token.text.upper()) in _SETS:
            self.take()
            query = Combined(how, query, self._operand())
            count += 1
            if count > _MAXIMUM_SETS:
                raise UnsupportedError(f"more than {_MAXIMUM_SETS} set operations", self.token.position)
        return query

    def _operand(self) -> Query:
        if self.accept("("):
            self._depth += 1
            if self._depth > _MAXIMUM_BRACKETS:
                raise UnsupportedError(f"more than {_MAXIMUM_BRACKETS} nested brackets", self.token.position)
            query = self._query()
            self._depth -= 1
            self.expect(")")
            return query
        word = self.token.text.upper()
        if self.token.kind != "word" or word != "PROFILE":
            if word in _OTHER_SOURCES:
                raise UnsupportedError(f"{word}() in a segment query", self.token.position)
            raise self.unexpected("PROFILE")
        self.take()
        self.expect("(")
        table = self.expect_kind("word", "a table name").text
        self.alias = self.expect_kind("word", "an alias").text if self.accept(",") else table
        self.expect(")")
        return Profile(table, self._filters())

    def _filters(self) -> Condition | None:
        conditions = []
        while self.accept("."):
            step = self.expect_kind("word", "FILTER")
            if step.text.upper() in _OTHER_STEPS:
                raise UnsupportedError(f"{step.text.upper()} in a segment query", step.position)
            if step.text.upper() != "FILTER":
                raise QueryError(
                    f"Syntax error at position {step.position}: '{step.text}' is not a step", step.position
                )
            self.expect("(")
            conditions.append(self.disjunction())
            self.expect(")")
        if not conditions:
            return None
        return conditions[0] if len(conditions) == 1 else Every(tuple(conditions))
