"""The messages of database drivers, without the values of a query, of its parameters or of rows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from airflow_provider_cij.errors import CijError, CijInputError

# Errors that no retry can fix, as PEP 249 names them: drivers share the names, not the classes.
_PERMANENT = frozenset({"ProgrammingError", "NotSupportedError", "DataError"})
# Drivers of MySQL and SQLite name wrong queries after other errors as well. Classes of SQLSTATE (ISO/IEC 9075-2):
# features, data, databases and schemas that are not there, syntax and access.
_SQLSTATES = ("0A", "22", "3D", "3F", "42")
# Codes of MySQL: for a driver that gives no SQLSTATE, those of its class 42 that are no ProgrammingError there; and
# those of that class that are a limit which passes.
_MYSQL = frozenset({1044, 1046, 1049, 1052, 1054, 1055, 1140, 1142, 1143, 1222, 1241, 1248, 1305, 1318, 1370, 1582})
_MYSQL_LIMITS = frozenset({1203, 1226})
_SQLITE_ERROR = 1
# When a connection opens, a driver that is not installed is permanent. Airflow says "not found" also of a connection
# that it could not ask for, so that is not.
_NO_HOOK = "Unknown hook type"

_LITERAL = re.compile(r"'((?:[^'\\]|''|\\.)*)'?|\$(\w*)\$(.*?)\$\2\$|\"((?:[^\"\\]|\"\"|\\.)*)\"?", re.DOTALL)
_NAMED = r"(?<!table )(?<!relation )(?<!column )(?<!schema )(?<!database )(?<!view )(?<!function )"
# What an error quotes of the data of rows, unless it says that it is a name.
_QUOTED = re.compile(
    r"""((?:table|relation|column|schema|database|view|function|object name) (["'`])[\w.$]+\2)|["'`].*""", re.IGNORECASE
)
# What a driver of PostgreSQL puts before the query, to give it a cursor on the server.
_DECLARE = re.compile(r"(?<=: ).*?CURSOR (?:WITHOUT HOLD )?FOR ")
_CARET = re.compile(r"\n[ \t]*\^[ \t]*(?=\n|$)")


def opening_error(error: Exception, what: str) -> CijError:
    """Return the error of a connection that can't be opened.

    :param error: the driver's error, or Airflow's
    :param what: what failed
    """
    words = _words(error).strip()
    known = isinstance(error, ImportError) or words.startswith(_NO_HOOK)
    return (CijInputError if known else CijError)(f"{what}: {type(error).__name__}: {words}")


def query_error(error: Exception, what: str, sql: str, parameters: Any) -> CijError:
    """Return the error of a query that failed: permanent when the query is wrong, with the driver's whole message.

    :param error: the driver's error
    :param what: what failed
    :param sql: the query; its literals are struck from the message
    :param parameters: the query's parameters; their values are struck from the message
    """
    words = _DECLARE.sub("", _CARET.sub("", _words(error))).strip()
    if _is_of_data(error):  # it may quote what a row holds
        words = _QUOTED.sub(lambda found: found[1] or "…", words.partition("\n")[0])
    for value in sorted({*_literals(sql), *_values(parameters)}, key=len, reverse=True):
        words = _struck(words, value)
    return (CijInputError if _is_permanent(error) else CijError)(f"{what}: {type(error).__name__}: {words}")


def _words(error: Exception) -> str:
    return max((word for word in error.args if isinstance(word, str)), key=len, default=str(error))


def _sqlstate(error: Exception) -> str:
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def _is_of_data(error: Exception) -> bool:
    return _sqlstate(error).startswith("22") or any(kind.__name__ == "DataError" for kind in type(error).__mro__)


def _is_permanent(error: Exception) -> bool:
    code = error.args[0] if error.args else None
    if code in _MYSQL_LIMITS:
        return False
    return (
        any(kind.__name__ in _PERMANENT for kind in type(error).__mro__)
        or _sqlstate(error).startswith(_SQLSTATES)
        or code in _MYSQL
        or getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR
    )


def _literals(sql: str) -> Iterator[str]:
    for found in _LITERAL.finditer(sql):
        text = next((text for text in (found[1], found[3], found[4]) if text), "")
        if text:
            yield text


def _values(parameters: Any) -> Iterator[str]:
    if isinstance(parameters, Mapping):
        parameters = list(parameters.values())
    if isinstance(parameters, (list, tuple, AbstractSet)):
        for value in parameters:
            yield from _values(value)
    elif parameters is not None and not isinstance(parameters, bool) and str(parameters):
        yield str(parameters)


def _struck(words: str, value: str) -> str:
    """Return a message without a value: quoted, cut off where the driver cuts what it shows, or bare."""
    whole = re.escape(value)
    words = re.sub(rf"{_NAMED}(['\"]){whole}\1", r"\1…\1", words, flags=re.IGNORECASE)
    if value.isdecimal():  # not the number of a line
        return re.sub(rf"(?<!line )(?<![\w.]){whole}(?![\w.])", "…", words, flags=re.IGNORECASE)
    for size in range(len(value), 0, -1) if f"'{value[0]}" in words else ():
        cut = re.escape(value[:size])
        words, count = re.subn(rf"'{cut}(?=\.\.\.|['\"]|$)", "'…", words, flags=re.MULTILINE)
        if count:
            break
    for size in range(len(value), 0, -1) if f"{value[-1]}'" in words else ():
        words, count = re.subn(rf"\.\.\.{re.escape(value[-size:])}'", "...…'", words)
        if count:
            break
    words = re.sub(r"(?<=\.\.\.)(.+?)(?=\.\.\.)", lambda piece: "…" if piece[0] in value else piece[0], words)
    return re.sub(rf"(?<!\w){whole}(?!\w)", "…", words) if len(value) > 3 and not value.isidentifier() else words
