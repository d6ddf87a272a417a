"""Read what a source says about addresses: whole rows, checked before anything is sent, one statement an address.

The statements lie in a temporary database of SQLite, which is gone with the process: a million do not fit into memory.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_cij.api.consent.consent_to import Channel
from airflow_provider_cij.api.consent.import_plan import Statement
from airflow_provider_cij.api.consent.reading import address_key
from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.api.timestamps import parse_utc
from airflow_provider_cij.dataverse.values import text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError

ACCEPTED = "opted_in, opted_out"
# What is left of a word without what stands between its letters.
_WORDS = {
    **dict.fromkeys(("optedin", "optin", "in", "subscribed", "534120001"), ConsentValue.OPTED_IN),
    **dict.fromkeys(("optedout", "optout", "out", "unsubscribed", "534120002"), ConsentValue.OPTED_OUT),
}
_BETWEEN = re.compile(r"[\s_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_LONGEST = 400
CLOCK_SKEW = timedelta(minutes=1)
"""How far a source's clock may be ahead of the service's. A date beyond would beat every choice until it has come."""
# Sorts after every date: an opt-out without one counts as said now.
_UNDATED = "~"

OnRejected = Callable[[Sequence[tuple[int, str]]], None]
"""Called with lines that are not used, and why. The reason does not hold the address."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a source hold what.

    :param address: the address, or the value that finds the person
    :param value: the consent; default None, it is given once for all rows
    :param given_at: when it was given or withdrawn; default None, no column holds it
    :param reason: a text for the row's readers; default None
    """

    address: str
    value: str | None = None
    given_at: str | None = None
    reason: str | None = None

    def names(self) -> list[str]:
        """Return the names of the columns, each once."""
        return list(dict.fromkeys(filter(None, (self.address, self.value, self.given_at, self.reason))))


def value_of(name: str, value: object) -> ConsentValue:
    """Return the consent that a value stands for.

    :param name: what holds the value, for the error
    :param value: ``opted_in`` or ``opted_out``, also written as ``opt-in``, ``in``, ``subscribed`` and so on, or the
        service's number. Yes, true and 1 are refused: a column may as well hold who wants no mail
    :raises CijInputError: the value stands for neither
    """
    found = _WORDS.get(_BETWEEN.sub("", trimmed(text_of_value(value))).lower())
    if found is None:
        raise CijInputError(f"{name} holds neither of {ACCEPTED}.", hint="Spell it so in the list or in its query.")
    return found


def address_of(row: Mapping[str, object], columns: Columns) -> str:
    """Return the address of a row, or the value that finds the person.

    :param row: the row by its columns
    :param columns: which column holds what
    :raises CijInputError: there is none, or it can't be one; the error does not hold it
    """
    address = trimmed(text_of_value(row.get(columns.address)))
    if not address:
        raise CijInputError(f"{columns.address} is empty.")
    if len(address) > _LONGEST or _CONTROL.search(address):
        raise CijInputError(f"{columns.address} is longer than {_LONGEST} characters, or holds control characters.")
    return address


def may_opt_out(row: Mapping[str, object], columns: Columns, value: ConsentValue | None) -> bool:
    """Return whether a row that can't be used may be an opt-out.

    :param row: the row by its columns
    :param columns: which column holds what
    :param value: the consent of all rows; None, a column holds it
    """
    try:
        said = value or value_of(str(columns.value), row.get(str(columns.value)))
    except CijInputError:
        return True
    return said is ConsentValue.OPTED_OUT


def statement_of(
    row: Mapping[str, object],
    line: int,
    columns: Columns,
    *,
    value: ConsentValue | None,
    reason: str,
    now: datetime,
) -> Statement:
    """Return what a row says.

    :param row: the row by its columns
    :param line: its line
    :param columns: which column holds what
    :param value: the consent of all rows; None, a column holds it
    :param reason: the reason of rows without one
    :param now: the service's time
    :raises CijInputError: the row can't be used; the error does not hold its address
    """
    address = address_of(row, columns)
    said = value or value_of(str(columns.value), row.get(str(columns.value)))
    given = row.get(columns.given_at) if columns.given_at else None
    given_at = None
    if written := trimmed(text_of_value(given)):
        given_at = parse_utc(str(columns.given_at), given if isinstance(given, datetime) else written)
        if given_at > now + CLOCK_SKEW:
            raise CijInputError(f"{columns.given_at} is in the future.")
    elif said is ConsentValue.OPTED_IN:
        raise CijInputError("An opt-in has no date: it can't be told from one that was withdrawn since.")
    text = text_of_value(row.get(columns.reason)) if columns.reason else ""
    spelled = text_of_value(row.get(columns.address))
    # The service stores no control characters, and refuses some in a filter.
    spelled = "" if spelled == address or _CONTROL.search(spelled) else spelled
    return Statement(address, said, given_at, _CONTROL.sub(" ", text or reason), line, spelled)


def check_address(address: str, channel: Channel) -> None:
    """Check that an address may be one of a channel.

    :param address: the address
    :param channel: the channel
    :raises CijInputError: it is none; the error does not hold it
    """
    if channel is Channel.EMAIL and not _EMAIL.fullmatch(address):
        raise CijInputError("The address is no e-mail address.")


class Statements:
    """Takes statements in any order, and yields one for each address: the latest, and of two as late the opt-out.

    Rows that can't be used and may be opt-outs are kept apart: ``drop_doubtful`` drops the opt-ins of their addresses.
    Close it, or leave its ``with``.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file without a name
        self._database.execute(
            "CREATE TABLE statement (key TEXT PRIMARY KEY, address TEXT, value INTEGER, given TEXT, reason TEXT, "
            "line INTEGER, spelled TEXT) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE doubt (key TEXT PRIMARY KEY, address TEXT) WITHOUT ROWID")

    def __len__(self) -> int:
        count: int = self._database.execute("SELECT count(*) FROM statement").fetchone()[0]
        return count

    def add(self, statements: Sequence[Statement]) -> None:
        """Add statements.

        :param statements: the statements, about addresses or about the values that find people
        """
        rows = [
            (
                address_key(statement.address),
                statement.address,
                int(statement.value),
                _UNDATED
                if statement.given_at is None
                else statement.given_at.astimezone(UTC).isoformat(timespec="microseconds"),
                statement.reason,
                statement.line,
                statement.spelled,
            )
            for statement in statements
        ]
        with self._database:
            # OPTED_OUT has the larger number.
            self._database.executemany(
                "INSERT INTO statement VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "address = excluded.address, value = excluded.value, given = excluded.given, reason = excluded.reason, "
                "line = excluded.line, spelled = excluded.spelled "
                "WHERE (excluded.given, excluded.value) > (given, value)",
                rows,
            )

    def doubt(self, addresses: Iterable[str]) -> None:
        """Add addresses, or values that find people, of rows that can't be used and may be opt-outs.

        :param addresses: the addresses or values
        """
        with self._database:
            rows = [(address_key(address), address) for address in addresses]
            self._database.executemany("INSERT OR IGNORE INTO doubt VALUES (?, ?)", rows)

    def doubts(self, size: int) -> Iterator[list[str]]:
        """Yield what was added by ``doubt`` in batches, each address or value once.

        :param size: addresses in a batch; the last one may have fewer
        """
        for rows in self._pages("SELECT * FROM doubt WHERE key > ? ORDER BY key LIMIT ?", size):
            yield [address for _, address in rows]

    def drop_doubtful(self) -> list[int]:
        """Drop the opt-ins of addresses that were added by ``doubt``. Return their lines, in order."""
        doubtful = "FROM statement WHERE value = ? AND key IN (SELECT key FROM doubt)"
        opted_in = (int(ConsentValue.OPTED_IN),)
        with self._database:
            lines = self._database.execute(f"SELECT line {doubtful} ORDER BY line", opted_in).fetchall()
            self._database.execute(f"DELETE {doubtful}", opted_in)
        return [line for (line,) in lines]

    def batches(self, size: int) -> Iterator[list[Statement]]:
        """Yield the statements in batches, in the order of their addresses.

        :param size: statements in a batch; the last one may have fewer
        """
        for rows in self._pages("SELECT * FROM statement WHERE key > ? ORDER BY key LIMIT ?", size):
            yield [
                Statement(
                    address,
                    ConsentValue(value),
                    None if given == _UNDATED else datetime.fromisoformat(given),
                    reason,
                    line,
                    spelled,
                )
                for _, address, value, given, reason, line, spelled in rows
            ]

    def _pages(self, query: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        last = ""
        while rows := self._database.execute(query, (last, size)).fetchall():
            last = rows[-1][0]
            yield rows

    def close(self) -> None:
        """Drop all statements."""
        self._database.close()

    def __enter__(self) -> Statements:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
