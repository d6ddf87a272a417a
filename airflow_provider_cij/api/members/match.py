"""Find the ids of contacts or leads by e-mail addresses, customer numbers and other values.

Source: Dataverse docs, "In function", "Filter rows" and "Page results". Decisions where they are silent:

- Every record with the value counts, inactive ones as well: several people may share an address.
- Values that differ only in case, in white space and invisible characters around them, in how an accent is encoded, or
  in the type of a number are equal. The service
  may compare more widely (accents, "ß" and "ss"): records that are equal only to the service are left out, because a
  mail to the wrong person is worse than none.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.id_list import Chunk, InvalidRows, MemberIdList, OnEnd, OnReject
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.dataverse.odata import URL_LIMIT, encoded_length, in_filter, in_literal, query
from airflow_provider_cij.dataverse.values import text_of_value, trimmed
from airflow_provider_cij.errors import CijError, CijInputError, CijRefusedError, CijReplyError, CijServerError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

OnNotFound = Callable[[Sequence[tuple[int, str]]], None]
"""Called with lines and values that match nobody. The values are personal data: never log them."""
OnProgress = Callable[[int, int, int], None]
"""Called after each query with queries done, values looked up, values found."""

TABLES = {"contact": ("contacts", "contactid"), "lead": ("leads", "leadid")}
"""The tables of people: entity set and id column by logical name."""
# The link to a further page is the same URL with a cookie of some 400 characters.
_ROOM_FOR_COOKIE = 1024
# SQL Server takes 2,100 parameters a statement. No document says whether the service gets past that.
_MAX_VALUES = 2000
_LONGEST = 850
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_Batch = dict[str, tuple[int, str]]  # normalized value: the first line it stands on, and the value itself


def normalize(text: str) -> str:
    """Return the form of a value in which equal values are equal texts.

    :param text: the value, trimmed
    """
    # Not casefold: it would make one of "ß" and "ss".
    return unicodedata.normalize("NFC", text.lower())


def widest(text: str) -> str:
    """Return a text without what a database without regard to case and accents may not compare.

    :param text: any text
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign))


async def match(
    client: DataverseClient,
    chunks: AsyncIterator[Chunk],
    *,
    table: str,
    column: str,
    max_invalid: object = None,
    max_not_found: object = None,
    on_not_found: OnNotFound | None = None,
    on_progress: OnProgress | None = None,
    on_end: OnEnd | None = None,
    on_reject: OnReject | None = None,
    values_per_query: int = _MAX_VALUES,
) -> MemberIdList:
    """Find the records that have the values of a list, as many values a query as its URL holds.

    In the result, ``read`` is the sum of ``invalid``, ``duplicate``, ``not_found`` and the values that were found.
    There may be more ``ids`` than values, because several records may have one value.

    :param client: an open client; its ``max_concurrency`` is the number of queries at once
    :param chunks: the rows
    :param table: ``contact`` or ``lead``
    :param column: logical name of the column to look in, such as ``emailaddress1``
    :param max_invalid: how many rows may hold no value: a bound as ``bounds.bound_of`` reads it, a share is one of the
        rows read. Default None, any number
    :param max_not_found: how many different values may match nobody: a bound as ``bounds.bound_of`` reads it, a share
        is one of the rows read. Default None, any number
    :param on_not_found: called with values that match nobody, and the first line of each. A value is repeated only when
        100,000 others stand between
    :param on_progress: called after each query that succeeded
    :param on_end: awaited when every value has been looked up, before the bounds refuse the list: the place to finish a
        file of ``on_not_found``. With it, no bound refuses the list before its end
    :param on_reject: called with the rows that hold no value that the column can hold
    :param values_per_query: the most values of one query, which its URL may cut further; default 2000
    :raises CijInputError: there is no such table, the column's name is malformed, too many rows hold no value, or too
        many values match nobody
    :raises CijError: a query failed after its retries; the error never holds a value
    """
    if table not in TABLES:
        raise CijInputError(f"The table is {table!r}.", hint=f"Segments are of {' or '.join(TABLES)}.")
    if not isinstance(column, str) or not re.fullmatch(r"[a-z0-9_]+", column):
        raise CijInputError(f"match_on is {column!r}, which is no column.", hint="Give its logical name.")
    matching = _Matching(client, table, column, on_not_found, on_progress, values_per_query)
    invalid = InvalidRows(max_invalid, what="value", early=on_end is None, on_reject=on_reject)
    bound = bound_of("max_not_found", max_not_found)
    id_list = await matching.run(chunks, invalid)
    if on_end:
        await on_end()
    invalid.check(id_list.read)
    if not bound.allows(id_list.not_found, id_list.read):
        raise CijInputError(
            f"{id_list.not_found:,} values of {id_list.read:,} rows match nobody, more than {bound}.",
            hint=f"Is {column!r} the right column? not_found_path gives a file of them. Nothing was sent.",
        )
    return id_list


class _Matching:
    """Looks the values of one list up."""

    def __init__(
        self,
        client: DataverseClient,
        table: str,
        column: str,
        on_not_found: OnNotFound | None,
        on_progress: OnProgress | None,
        values_per_query: int,
    ) -> None:
        self._client = client
        self._values_per_query = values_per_query
        self._set, self._id = TABLES[table]
        self._column = column
        self._on_not_found = on_not_found
        self._on_progress = on_progress
        self._recently_seen = _RecentlySeen()
        self._ids, self._values, self._missing = IdSet(), IdSet(), IdSet()
        self._read = self._queries = self._asked = self._matched = self._inexact_matches = 0

    async def run(self, chunks: AsyncIterator[Chunk], invalid: InvalidRows) -> MemberIdList:
        await for_each(self._batches(chunks, invalid), self._query, self._client.settings.max_concurrency)
        if self._inexact_matches:
            log.warning(
                "%s records were left out: the service takes their %s for one asked for, but it differs in more than "
                "case (an accent, for example)",
                *(f"{self._inexact_matches:,}", self._column),
            )
        duplicate = self._read - invalid.count - len(self._values)
        return MemberIdList(self._ids, self._read, invalid.count, duplicate, len(self._missing), invalid.lines)

    async def _batches(self, chunks: AsyncIterator[Chunk], invalid: InvalidRows) -> AsyncIterator[_Batch]:
        """Yield the different values in batches that fit into a query."""
        batch: _Batch = {}
        room = whole = URL_LIMIT - _ROOM_FOR_COOKIE - len(self._client.settings.api_url + self._path({}))
        async for lines, values in chunks:
            texts = [_text(value) for value in values]
            self._read += len(texts)
            invalid.add(lines, values, [place for place, text in enumerate(texts) if not text], self._read)
            digests = []
            for line, text in zip(lines, texts, strict=True):
                if not text:
                    continue
                key = normalize(text)
                digests.append(_digest(key))
                if self._recently_seen.met(digests[-1]):
                    continue
                length = encoded_length(f"{in_literal(text)},")
                if batch and (length > room or len(batch) == self._values_per_query):
                    yield batch
                    batch, room = {}, whole
                batch[key] = line, text
                room -= length
            self._values.update(b"".join(digests))
        invalid.close()
        if batch:
            yield batch

    async def _query(self, batch: _Batch) -> None:
        found: set[str] = set()
        failure: CijError | None = None
        try:
            async for rows in self._client.pages(self._path(batch)):
                found |= self._read_rows(rows, batch)
        except (CijRefusedError, CijServerError) as error:
            failure = error
        if failure:  # out of the handler: what is raised now must not carry the service's words along as its context
            await self._explain(failure, batch)
        missing = [value for key, value in batch.items() if key not in found]
        self._missing.update(b"".join(_digest(key) for key in batch if key not in found))
        if missing and self._on_not_found:
            self._on_not_found(missing)
        self._queries += 1
        self._asked += len(batch)
        self._matched += len(found)
        if self._on_progress:
            self._on_progress(self._queries, self._asked, self._matched)

    def _read_rows(self, rows: list[dict[str, Any]], batch: _Batch) -> set[str]:
        """Add the ids of the records whose value is in the batch, and return those values."""
        pairs = [(normalize(_text(row.get(self._column))), row.get(self._id)) for row in rows]
        exact = [(key, row_id) for key, row_id in pairs if key in batch]
        self._inexact_matches += len(pairs) - len(exact)
        ids, bad = pack_guids([row_id for _, row_id in exact])
        if bad:
            raise CijReplyError(f"GET {self._set} was answered with a row without {self._id}.")
        self._ids.update(ids)
        return {key for key, _ in exact}

    async def _explain(self, error: CijError, batch: _Batch) -> None:
        """Raise an error without the service's words, which may repeat the query and so personal data."""
        if isinstance(error, CijRefusedError):
            # A query without values tells whether the table, the column or a privilege is refused, in words to show.
            try:
                await self._client.get(query(self._set, select=self._columns, top=1))
            except CijRefusedError as refused:
                refused.hint = refused.hint or f"Is {self._column!r} a column's logical name in {self._set}?"
                raise
        lines = [line for line, _ in batch.values()]
        message = (
            f"GET {self._set} for {len(batch):,} values of {self._column}, lines {min(lines)} to {max(lines)}, failed. "
            "The service's words are withheld: they may repeat the values."
        )
        hint = error.hint or f"Does every value fit the type of {self._column}?"
        raise CijError.from_dict(error.as_dict() | {"message": message, "hint": hint})

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._id, self._column)))

    def _path(self, batch: Mapping[str, tuple[int, str]]) -> str:
        where = in_filter(self._column, (text for _, text in batch.values()))
        return query(self._set, select=self._columns, where=where)


class _RecentlySeen:
    """Remembers recent values.

    :param size: at least so many different values, and at most twice as many
    """

    def __init__(self, size: int = 100_000) -> None:
        self._size = size
        self._recent: set[bytes] = set()
        self._older: set[bytes] = set()

    def met(self, digest: bytes) -> bool:
        """Return whether a value was seen recently, and remember it."""
        if digest in self._recent or digest in self._older:
            return True
        if len(self._recent) == self._size:
            self._recent, self._older = set(), self._recent
        self._recent.add(digest)
        return False


def _text(value: object) -> str:
    """Return a value of a list or a row as text; ``""`` when there is none or no column can hold it."""
    text = unicodedata.normalize("NFC", trimmed(text_of_value(value)))
    return "" if len(text) > _LONGEST or _NO_TEXT.search(text) else text


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()
