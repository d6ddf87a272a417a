"""Conditions: the tokens, the tree and the precedence parser that ``$filter`` and segment queries share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cij_sandbox.core.errors import ODataError

MAXIMUM_DEPTH = 20  # SQLite takes 100 levels of the SQL that comes of it
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>'(?:[^']|'')*')
  | (?P<json>"(?:[^"\\]|\\.)*")
  | (?P<guid>[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?![\w-]))
  | (?P<date>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?(?![\w-]))
  | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w))
  | (?P<word>@?[^\W\d]\w*)
  | (?P<symbol>==|!=|>=|<=|&&|\|\||[<>()\[\],.=!/])
  | (?P<other>.)
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


class QueryError(Exception):
    """A condition that cannot be parsed; ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


def syntax_error(position: int, problem: str) -> QueryError:
    """Return the error for a condition that cannot be parsed beyond a position."""
    return QueryError(f"Syntax error at position {position}: {problem}", position)


class UnsupportedError(ODataError):
    """A construct that the real service has and the sandbox does not implement, with its position."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(501, "", f"The sandbox does not implement {what}.")
        self.position = position


class MismatchError(Exception):
    """A condition that is well formed but does not fit the table."""


@dataclass(frozen=True)
class Token:
    """One token of a condition."""

    kind: str
    text: str
    position: int


@dataclass(frozen=True)
class Literal:
    """A constant: ``kind`` is null, boolean, number, string, guid, date, moment, or written (for any column)."""

    kind: str
    value: str | int | float | None


@dataclass(frozen=True)
class Compare:
    """A column compared with a constant."""

    column: str
    operator: str
    literal: Literal


@dataclass(frozen=True)
class Match:
    """A column searched for a text: contains, startswith or endswith; or like, with the wildcards % and _."""

    column: str
    how: str
    text: str


@dataclass(frozen=True)
class OneOf:
    """A column that equals one of several values, which are strings whatever the column's kind."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class IsNull:
    """A column without a value."""

    column: str


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    operand: Condition


@dataclass(frozen=True)
class Every:
    """All of some conditions."""

    operands: tuple[Condition, ...]


@dataclass(frozen=True)
class Some:
    """At least one of some conditions."""

    operands: tuple[Condition, ...]


Condition = Compare | Match | OneOf | IsNull | Not | Every | Some


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a condition; the last one has the kind "end"."""
    matches = (match for match in _TOKEN.finditer(text) if match.lastgroup != "space")
    return [
        *(Token(match.lastgroup or "", match.group(), match.start()) for match in matches),
        Token("end", "", len(text)),
    ]


def read_number(token: Token) -> int | float:
    """Read a number of at most 50 characters, more than Dataverse stores."""
    if len(token.text) > 50:
        raise syntax_error(token.position, "the number is too long")
    return float(token.text) if any(mark in token.text for mark in ".eE") else int(token.text)


class Parser:
    """Parses conditions joined by ``or`` and, binding tighter, ``and``. Subclasses parse a single condition."""

    or_word = ""
    and_word = ""

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._index = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self._index]

    def take(self) -> Token:
        """Read the next token."""
        token = self.token
        self._index += token.kind != "end"
        return token

    def accept(self, text: str) -> bool:
        """Read the next token if it has this text; return whether it has."""
        found = self.token.text == text and self.token.kind in ("symbol", "word")
        if found:
            self.take()
        return found

    def expect(self, text: str) -> None:
        """Read a token with this text, or raise QueryError."""
        if not self.accept(text):
            raise self.unexpected(f"'{text}'")

    def expect_kind(self, kind: str, what: str) -> Token:
        """Read a token of this kind, or raise QueryError."""
        if self.token.kind != kind:
            raise self.unexpected(what)
        return self.take()

    def unexpected(self, wanted: str) -> QueryError:
        """Return the error for a token where another one was expected."""
        found = f"'{self.token.text}'" if self.token.text else "the end"
        return syntax_error(self.token.position, f"{wanted} expected, {found} found")

    def nested(self, read: Callable[[], Condition]) -> Condition:
        """Read something that may contain itself, to a maximum depth."""
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise UnsupportedError(f"conditions nested more than {MAXIMUM_DEPTH} deep", self.token.position)
        condition = read()
        self._depth -= 1
        return condition

    def disjunction(self) -> Condition:
        """Read conditions joined by ``or``."""
        operands = [self.conjunction()]
        while self.accept(self.or_word):
            operands.append(self.conjunction())
        return operands[0] if len(operands) == 1 else Some(tuple(operands))

    def conjunction(self) -> Condition:
        """Read conditions joined by ``and``."""
        operands = [self.single()]
        while self.accept(self.and_word):
            operands.append(self.single())
        return operands[0] if len(operands) == 1 else Every(tuple(operands))

    def single(self) -> Condition:
        """Read one condition."""
        raise NotImplementedError
