"""``$filter`` ("Query data using the Web API, Filter rows"): text to condition."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cij_sandbox.core import values
from cij_sandbox.dataverse.expressions import (
    Compare,
    Condition,
    Every,
    Literal,
    Match,
    Not,
    OneOf,
    Parser,
    QueryError,
    Token,
    UnsupportedError,
    read_number,
    syntax_error,
    tokenize,
)

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_MATCHES = ("contains", "startswith", "endswith")
_CRM = "Microsoft.Dynamics.CRM."
# Functions of a column and a list of values, each with its opposite.
_OF_VALUES = ("In", "Between")
_OPPOSITES = ("NotIn", "NotBetween")
# Functions and operators of OData that need more than a column and a constant.
_KNOWN_ELSEWHERE = frozenset([
    "tolower", "toupper", "trim", "length", "indexof", "substring", "concat", "year", "month", "day", "hour",
    "minute", "second", "date", "time", "now", "round", "floor", "ceiling", "cast", "isof", "any", "all", "has",
    "in", "add", "sub", "mul", "div", "mod",
])  # fmt: skip


def parse(text: str, aliases: Mapping[str, str] | None = None) -> Condition:
    """Parse a ``$filter`` expression; ``aliases`` are the query options ``@name`` that it may use for values."""
    parser = _FilterParser(text, aliases or {})
    condition = parser.disjunction()
    if parser.token.kind != "end":
        if parser.token.text in _KNOWN_ELSEWHERE:
            raise UnsupportedError(f"the operator '{parser.token.text}' in $filter", parser.token.position)
        raise parser.unexpected("the end of the expression")
    return condition


class _FilterParser(Parser):
    or_word = "or"
    and_word = "and"

    def __init__(self, text: str, aliases: Mapping[str, str]) -> None:
        super().__init__(text)
        self._tokens = [found for token in self._tokens for found in _meant(token, aliases)]

    def single(self) -> Condition:
        if self.accept("not"):
            return Not(self.nested(self._operand_of_not))
        if self.accept("("):
            condition = self.nested(self.disjunction)
            self.expect(")")
            return condition
        if self.token.kind in ("string", "number", "guid", "date"):
            raise UnsupportedError("a constant on the left-hand side of a comparison in $filter", self.token.position)
        return self._comparison_or_function()

    def _operand_of_not(self) -> Condition:
        # OData ranks `not` above `eq`, so that `not a eq 1` means `(not a) eq 1`, never meant: ask for brackets.
        start = self.token.position
        condition = self.single()
        if isinstance(condition, Compare) and self._tokens[self._index - 1].text != ")":
            raise QueryError(
                f"A unary operator with an incompatible type was detected at position {start}: "
                "'not' binds tighter than a comparison, put the comparison in parentheses.",
                start,
            )
        return condition

    def _comparison_or_function(self) -> Condition:
        start = self.token.position
        name = self._dotted_name()
        if self.token.text == "/":
            raise UnsupportedError(f"navigation from '{name}' in $filter", start)
        if self.accept("("):
            return self._function(name, start)
        word = self.expect_kind("word", "a comparison operator").text
        if word not in _OPERATORS:
            if word in _KNOWN_ELSEWHERE:
                raise UnsupportedError(f"the operator '{word}' in $filter", start)
            raise syntax_error(start, f"'{word}' is not a comparison operator")
        return Compare(name, _OPERATORS[word], self._literal())

    def _dotted_name(self) -> str:
        name = self.expect_kind("word", "a property name").text
        while self.accept("."):
            name += "." + self.expect_kind("word", "a name").text
        return name

    def _function(self, name: str, start: int) -> Condition:
        kind = name.removeprefix(_CRM)
        if kind != name and kind in (*_OF_VALUES, *_OPPOSITES):
            condition = self._of_values(kind.removeprefix("Not"), start)
            return Not(condition) if kind in _OPPOSITES else condition
        if name in _MATCHES:
            column = self.expect_kind("word", "a property name").text
            if self.token.text in ("(", "/"):
                raise UnsupportedError(f"an expression inside {name}()", start)
            self.expect(",")
            text = self.expect_kind("string", "a string").text
            self.expect(")")
            return Match(column, name, _unquoted(text))
        if name in _KNOWN_ELSEWHERE or name.startswith(_CRM):
            raise UnsupportedError(f"the function '{name}' in $filter", start)
        raise QueryError(f"An unknown function with name '{name}' was found.", start)

    def _of_values(self, kind: str, start: int) -> Condition:
        self.expect("PropertyName")
        self.expect("=")
        column = _unquoted(self.expect_kind("string", "a quoted property name").text)
        self.expect(",")
        self.expect("PropertyValues")
        self.expect("=")
        self.expect("[")
        wanted = [self._quoted_value()]
        while self.accept(","):
            wanted.append(self._quoted_value())
        self.expect("]")
        self.expect(")")
        if kind == "In":
            return OneOf(column, tuple(wanted))
        if len(wanted) != 2:
            raise QueryError("Between takes two values", start)
        least, most = (Literal("written", value) for value in wanted)
        return Every((Compare(column, ">=", least), Compare(column, "<=", most)))

    def _quoted_value(self) -> str:
        # The document prints double quotes; the service takes the single ones that many clients send.
        if self.token.kind == "string":
            return _unquoted(self.take().text)
        token = self.expect_kind("json", "a string in quotes")
        try:
            return str(json.loads(token.text))
        except ValueError:
            raise QueryError(f"{token.text} is not a JSON string", token.position) from None

    def _literal(self) -> Literal:
        token = self.take()
        if token.kind == "string":
            return Literal("string", _unquoted(token.text))
        if token.kind == "number":
            return Literal("number", read_number(token))
        if token.kind == "guid":
            return Literal("guid", token.text.lower())
        if token.kind == "date" and (moment := values.read_moment(token.text)) is not None:
            return Literal("moment", moment) if "T" in token.text else Literal("date", token.text)
        if token.text in ("true", "false", "null"):
            return Literal("null", None) if token.text == "null" else Literal("boolean", int(token.text == "true"))
        if token.kind == "word":
            if token.text.startswith("@"):
                raise QueryError(f"The parameter alias '{token.text}' has no value", token.position)
            raise UnsupportedError(f"the comparison with '{token.text}', which is not a constant,", token.position)
        raise syntax_error(token.position, "a constant expected")


def _meant(token: Token, aliases: Mapping[str, str]) -> list[Token]:
    """Return the tokens that a token stands for: those of its value, when it is a parameter alias."""
    if token.text not in aliases:
        return [token]
    return [Token(part.kind, part.text, token.position) for part in tokenize(aliases[token.text])[:-1]]


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")
