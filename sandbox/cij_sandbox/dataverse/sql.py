"""Conditions as parameterised SQL."""

# ruff: noqa: S608 - the names are those of the tables, every value is a parameter

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime

from cij_sandbox.core import guid, values
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Column, Kind, Table
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.expressions import (
    Compare,
    Condition,
    Every,
    IsNull,
    Literal,
    Match,
    MismatchError,
    Not,
    OneOf,
    Some,
)

Sql = tuple[str, list[SqlValue]]

_CHAIN = 200
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)
_EDM = {
    "boolean": "Edm.Boolean",
    "number": "Edm.Decimal",
    "string": "Edm.String",
    "guid": "Edm.Guid",
    "date": "Edm.Date",
    "moment": "Edm.DateTimeOffset",
}
_FITTING = {
    Kind.STRING: ("string",),
    Kind.BOOLEAN: ("boolean",),
    Kind.INTEGER: ("number",),
    Kind.BIGINT: ("number",),
    Kind.DECIMAL: ("number",),
    Kind.GUID: ("guid",),
    Kind.DATE: ("date",),
    Kind.DATETIME: ("moment", "date"),
}


class UnknownColumnError(MismatchError):
    """A condition on a column that the table does not have."""

    def __init__(self, table: Table, name: str) -> None:
        super().__init__(f"The table '{table.logical_name}' has no column '{name}'.")
        self.name = name


def too_complex(problem: sqlite3.OperationalError) -> bool:
    """Return whether SQLite refused a query for its size."""
    return any(
        reason in str(problem) for reason in ("stack overflow", "too large", "too many", "too deep", "too complex")
    )


def comparable(column: Column) -> str:
    """Return the SQL with which a column is compared and sorted."""
    return f'fold("{column.name}")' if column.kind is Kind.STRING else f'"{column.name}"'


class ConditionSql:
    """Compiles the conditions of one dialect for one table.

    ``$filter`` has two values (OData, "null" is unequal to everything and a comparison with it is false): ``ne`` and
    ``not`` match rows without a value. A segment query has SQL's three: a comparison with a missing value is no match,
    and neither is its opposite.
    Assumption: the three-valued reading of segment queries is not documented.
    """

    def __init__(self, table: Table, *, segment_query: bool) -> None:
        self._table = table
        self._segment_query = segment_query
        self._columns = table.by_name if segment_query else table.by_property

    def compile(self, condition: Condition) -> Sql:
        """Return the SQL of a condition."""
        if isinstance(condition, Every | Some):
            return self._joined(" AND " if isinstance(condition, Every) else " OR ", condition.operands)
        if isinstance(condition, Not):
            text, parameters = self.compile(condition.operand)
            return (f"NOT ({text})" if self._segment_query else f"NOT (({text}) IS TRUE)"), parameters
        column = self._column(condition.column)
        if isinstance(condition, IsNull):
            return f'"{column.name}" IS NULL', []
        if isinstance(condition, Compare):
            return self._comparison(column, condition)
        if isinstance(condition, OneOf):
            wanted = [from_string(column, value) for value in condition.values]
            # As one parameter, because SQLite prefers reading the whole table to looking up a list of thousands.
            return f"{comparable(column)} IN (SELECT value FROM json_each(?))", [json.dumps(wanted)]
        return self._match(column, condition)

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            raise UnknownColumnError(self._table, name)
        return self._columns[name]

    def _joined(self, word: str, operands: tuple[Condition, ...]) -> Sql:
        # In pieces, because SQLite limits the depth of an expression to 1,000 and a chain is as deep as it is long.
        parts = [self.compile(operand) for operand in operands]
        while len(parts) > 1:
            pieces = [parts[start : start + _CHAIN] for start in range(0, len(parts), _CHAIN)]
            parts = [
                (
                    "(" + word.join(f"({text})" for text, _ in piece) + ")",
                    [value for _, found in piece for value in found],
                )
                for piece in pieces
            ]
        return parts[0]

    def _comparison(self, column: Column, condition: Compare) -> Sql:
        operator, literal = condition.operator, condition.literal
        if literal.kind == "null":
            if operator not in ("=", "<>"):
                return "0", []
            return f'"{column.name}" IS {"" if operator == "=" else "NOT "}NULL', []
        value = self._value(column, literal, operator)
        text = f"{comparable(column)} {operator} ?"
        if operator == "<>" and not self._segment_query and assumed("platform.not-equal") == "matched":
            text = f'({text} OR "{column.name}" IS NULL)'
        return text, [value]

    def _value(self, column: Column, literal: Literal, operator: str) -> SqlValue:
        value = literal.value
        if literal.kind == "written":
            return from_string(column, str(value))
        if self._segment_query and isinstance(value, str) and column.kind is Kind.GUID:
            # Assumption: the language has no GUID literal, so ids are written as strings.
            if (found := guid.parse(value)) is not None:
                return found
        elif self._segment_query and isinstance(value, float) and literal.kind == "moment" and column.kind is Kind.DATE:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d")
        elif literal.kind in _FITTING[column.kind]:
            if column.kind is Kind.DATETIME and isinstance(value, str):
                return values.read_moment(value)
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                return float(value)
            return value.casefold() if isinstance(value, str) and column.kind is Kind.STRING else value
        names = {"=": "Equal", "<>": "NotEqual", ">": "GreaterThan", ">=": "GreaterThanOrEqual", "<": "LessThan"}
        raise MismatchError(
            "A binary operator with incompatible types was detected. Found operand types "
            f"'{column.kind.value}' ('{column.name}') and '{_EDM[literal.kind]}' for operator kind "
            f"'{names.get(operator, 'LessThanOrEqual')}'."
        )

    def _match(self, column: Column, condition: Match) -> Sql:
        if column.kind is not Kind.STRING:
            raise MismatchError(
                f"No function signature for the function with name '{condition.how}' matches the specified arguments: "
                f"'{column.name}' is {column.kind.value}."
            )
        text = condition.text.casefold()
        folded = comparable(column)
        if condition.how == "like":
            return f"{folded} LIKE ?", [text]
        if condition.how == "contains":
            return f"instr({folded}, ?) > 0", [text]
        if condition.how == "startswith":
            return f"substr({folded}, 1, ?) = ?", [len(text), text]
        return (f"substr({folded}, -?) = ?", [len(text), text]) if text else (f"{folded} IS NOT NULL", [])


def from_string(column: Column, text: str) -> SqlValue:
    """Read a value that is written as a string whatever the column's kind."""
    if column.kind is Kind.STRING:
        return text.casefold()
    read: SqlValue
    if column.kind is Kind.GUID:
        read = guid.parse(text)
    elif column.kind is Kind.DATETIME:
        read = values.read_moment(text)
    elif column.kind is Kind.DATE:
        read = values.read_date(text)
    elif column.kind is Kind.BOOLEAN:
        read = {"true": 1, "false": 0, "1": 1, "0": 0}.get(text.lower())
    else:
        read = float(text) if _NUMBER.fullmatch(text) else None
    if read is None:
        raise MismatchError(f"'{text}' is not a value of '{column.property_name}', which is {column.kind.value}.")
    return read
