"""Matching values to records: against a server with its own reading of In(), and against the sandbox."""

from __future__ import annotations

import asyncio
import json
import re
import time
import traceback
import unicodedata
import uuid
from collections import Counter
from decimal import Decimal
from threading import Lock
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members import match as matching
from airflow_provider_cij.api.members.match import match
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijInputError, CijRefusedError, CijReplyError, CijServerError
from tests.scripted import Answer, ScriptedServer
from tests.streams import stream

TRICKY = [
    "o'brien@contoso.test",
    "O'Brien@Contoso.test",
    "it's 'quoted'",
    'say "hi"\\',
    "back\\slash",
    "x' or 1 eq 1",
    '"],PropertyValues=["',
    "a]b",
    "[a",
    "a+b&c#d%20e=f?g",
    "comma,semicolon;",
    "jos\u00e9@contoso.test",
    "jose\u0301@contoso.test",
    "jose@contoso.test",
    "stra\u00dfe",
    "strasse",
    "\u5f20\u4f1f@contoso.test",
    "\U0001f600",
]


class Directory(ScriptedServer):
    """Contacts by the column ``code``, compared without case and accents as a database may do it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.contacts: list[dict[str, object]] = []
        self.page = 5000
        self.busy = 0.0
        self.most = self._now = 0
        self._counted = Lock()

    def keep(self, *codes):
        """Store contacts with exactly these codes and return their ids."""
        ids = [str(uuid.uuid4()) for _ in codes]
        self.contacts = [{"contactid": contact_id, "code": code} for contact_id, code in zip(ids, codes, strict=True)]
        self.requests = []
        return ids

    def answer(self, request):
        if "/api/data/" not in request.path:
            return super().answer(request)
        with self._counted:
            self.requests.append(request)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.busy)
        with self._counted:
            self._now -= 1
        if len(self.url) + len(request.path) > 32_768:
            return Answer(414)
        options = dict(parse_qsl(urlsplit(request.path).query, strict_parsing=True))
        try:
            wanted = {_loose(value) for value in wanted_of(options["$filter"])}
        except (AssertionError, LookupError, ValueError) as problem:
            return _refusal(400, repr(problem))
        found = [row for row in self.contacts if row["code"] is not None and _loose(row["code"]) in wanted]
        start = int(options.get("$skiptoken", "0").strip())
        body = {"value": found[start : start + self.page]}
        if start + self.page < len(found):
            # As long as the real cookie.
            token = quote(f"{start + self.page:<140}")
            body["@odata.nextLink"] = f"{self.url}{request.path.partition('&$skiptoken')[0]}&$skiptoken={token}"
        return Answer(body=body)

    def wanted(self):
        """Return all values that were queried so far."""
        queries = [dict(parse_qsl(urlsplit(request.path).query)) for request in self.requests]
        return [value for query in queries for value in wanted_of(query["$filter"])]


def wanted_of(text):
    """Parse In() as public OData libraries do: find the list's end by brackets, stepping over 'single quotes'."""
    head = re.match(r"Microsoft\.Dynamics\.CRM\.In\(PropertyName='code',PropertyValues=\[", text)
    assert head
    place, depth = head.end(), 1
    while depth:
        if text[place] == "'":
            place = text.index("'", place + 1)
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        place += 1
    assert text[place:] == ")"
    values = json.loads(text[head.end() - 1 : place])
    assert values
    assert all(isinstance(value, str) for value in values)
    return values


def _loose(value):
    apart = unicodedata.normalize("NFKD", str(value)).casefold()
    return "".join(letter for letter in apart if not unicodedata.combining(letter)).strip()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Provide a server that knows contacts and the function In()."""
    with Directory(tmp_path_factory.mktemp("directory")) as server:
        yield server


@pytest.fixture(autouse=True)
def _as_it_was(directory):
    directory.page, directory.busy, directory.most = 5000, 0.0, 0


def _run(server, values, size=1000, rules=None, **options):
    """Match values in chunks of ``size``."""
    starts = range(0, len(values), size)
    chunks = stream(
        [(range(start + 1, start + size + 1)[: len(values) - start], values[start : start + size]) for start in starts]
    )
    given = {"table": "contact", "column": "code"} | options
    concurrency = given.pop("max_concurrency", 8)

    async def main():
        async with DataverseClient(server.settings(max_concurrency=concurrency), retry_policy=rules) as client:
            return await match(client, chunks, **given)

    return asyncio.run(main())


def _ids(intake):
    return sorted(contact_id for batch in intake.ids.batches(1000) for contact_id in batch)


def _same(value):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(value)).strip()).lower()


codes = st.one_of(st.sampled_from(TRICKY), st.text("aA\u00e9\u00c9e\u0301'\"\\[](){},&+#%= ", max_size=4))


@given(st.lists(codes, max_size=12), st.lists(st.one_of(codes, st.none()), max_size=12), st.integers(1, 5))
def test_matches_agree_with_plain_python(directory, kept, values, size):
    """Exactly the people whose value is in the list are found, and every row is counted once."""
    ids = directory.keep(*kept, None)
    directory.page = 2
    wanted = [_same(value) for value in values if value is not None and value.strip()]
    there = {_same(code) for code in kept}
    told = []
    if values and not wanted:
        with pytest.raises(CijInputError, match="None of the"):
            _run(directory, values, size)
        return
    intake = _run(directory, values, size, on_not_found=told.extend, values_per_query=3)
    people = zip(ids, kept, strict=False)
    assert _ids(intake) == sorted(
        contact_id for contact_id, code in people if _same(code) in set(wanted) and code.strip()
    )
    assert (intake.read, intake.invalid) == (len(values), len(values) - len(wanted))
    assert intake.duplicate == len(wanted) - len(set(wanted))
    assert intake.not_found == len(set(wanted) - there)
    firsts = {_same(value): line for line, value in reversed(list(enumerate(values, 1))) if value is not None}
    assert all(line == firsts[_same(value)] for line, value in told)
    assert Counter(_same(value) for _, value in told) == Counter(set(wanted) - there)


def test_a_repeated_value_is_queried_and_reported_once(directory):
    """A value that comes again in a later query is neither queried nor reported again."""
    directory.keep("a")
    told = []
    values = ["a", "b", "c", "d", "A", "B", "e", "d ", "b"]
    intake = _run(directory, values, 2, on_not_found=told.extend, values_per_query=3)
    assert sorted(directory.wanted()) == ["a", "b", "c", "d", "e"]
    assert sorted(told) == [(2, "b"), (3, "c"), (4, "d"), (7, "e")]
    assert (intake.read, intake.duplicate, intake.not_found) == (9, 4, 4)


def test_progress_is_reported_after_every_query(directory):
    """Progress reports the queries, the values queried and the values that matched."""
    directory.keep("1", "2", "2", "7")
    told = []
    _run(directory, list("12345678"), max_concurrency=1, values_per_query=3, on_progress=lambda *now: told.append(now))
    assert told == [(1, 3, 2), (2, 6, 2), (3, 8, 3)]


def test_queries_fill_the_url_limit(directory):
    """Queries are as long as the URL limit allows, with room for the link to a further page."""
    values = [f"o'brien+{number}@{'é' * (number % 30)}.test" for number in range(4000)]
    ids = directory.keep(*values)
    directory.page = 200
    intake = _run(directory, values, max_concurrency=3)
    assert _ids(intake) == sorted(ids)
    lengths = [len(directory.url + request.path) for request in directory.requests if "$skiptoken" not in request.path]
    longest = max(len(quote(value)) for value in values) + 20
    # Only the last one may have had room for one more.
    assert sum(length < 32_768 - 1024 - longest for length in lengths) <= 1
    assert max(lengths) <= 32_768 - 1024
    assert len(directory.requests) > len(lengths)


def test_short_values_are_limited_by_their_number(directory):
    """Short values are cut into queries of at most 2,000 or so, for databases limit the parameters of a query."""
    values = [f"{number}" for number in range(5000)]
    directory.keep(*values)
    assert len(_run(directory, values).ids) == 5000
    assert len(directory.requests) == 3


def test_inexact_matches_are_left_out(directory, caplog):
    """Records that match only without accents are left out and counted, and the log shows no address."""
    jose, *_ = directory.keep("jose@contoso.test", "jos\u00e9@contoso.test", "stra\u00dfe", "\ufb01ne", "\uff41da")
    told = []
    intake = _run(directory, ["Jose@contoso.test", "strasse", "fine", "ada"], on_not_found=told.extend)
    assert _ids(intake) == [jose]
    assert (intake.not_found, told) == (3, [(2, "strasse"), (3, "fine"), (4, "ada")])
    assert "4 records were left out: the service takes their code for one asked for" in caplog.text
    assert "contoso" not in caplog.text


def test_numbers_are_compared_by_their_digits(directory):
    """Values of a whole-number column match whether the list holds text or numbers."""
    first, second, _ = directory.keep(1001, 1002, 10010)
    intake = _run(directory, ["1001", 1002, " 1002", 1003])
    assert _ids(intake) == sorted([first, second])
    assert (intake.duplicate, intake.not_found) == (1, 1)


def test_the_id_column_can_be_matched(scripted):
    """Matching on the id column finds existing ids in any casing and selects the column once."""
    contact_id = str(uuid.uuid4())
    scripted.script = [Answer(body={"value": [{"contactid": contact_id}]})]
    intake = _run(scripted, [contact_id.upper(), str(uuid.uuid4())], column="contactid")
    assert (_ids(intake), intake.not_found) == ([contact_id], 1)
    assert "$select=contactid&" in scripted.requests[0].path


def test_values_that_no_column_can_hold_are_invalid(directory, caplog):
    """Empty values, control characters, lone surrogates and values that are too long are counted and never sent."""
    directory.keep("x" * 850)
    bad = [None, "", " \t", "a\x00b", "a\nb", "\ud800", "x" * 851]
    intake = _run(directory, [*bad, "x" * 850])
    assert (intake.read, intake.invalid, len(intake.ids)) == (8, 7, 1)
    assert directory.wanted() == ["x" * 850]
    assert "Line 4 holds no value" in caplog.text
    with pytest.raises(CijInputError, match=r"6 of the first 8 rows hold no value, more than max_invalid=5"):
        _run(directory, [*bad, "x"], max_invalid=5)  # None says itself that there is no value


def test_rejected_values_are_told_before_a_list_is_refused(directory):
    """A list that is refused for its invalid rows has told all of them, by line, reason and value."""
    rejected, ended = [], []

    async def end() -> None:
        ended.append(len(rejected))

    with pytest.raises(CijInputError, match="1 of the 3 rows hold no value, more than max_invalid=0"):
        _run(directory, ["x", None, "y" * 851], max_invalid=0, on_reject=rejected.extend, on_end=end)
    assert rejected == [(2, "it is empty", ""), (3, "851 characters that are no value", "y" * 851)]
    assert ended == [2]


def test_numbers_are_found_in_every_type(directory):
    """A whole number is found whether the list holds it as text, float or decimal."""
    text, number = directory.keep("4930123456", 18000)
    intake = _run(directory, [4930123456.0, Decimal("18000.00"), "18000", float("nan"), "\u200b4930123456\ufeff"])
    assert _ids(intake) == sorted([text, number])
    assert (intake.duplicate, intake.invalid, intake.not_found) == (2, 1, 0)


def test_the_longest_value_fits_a_url(directory):
    """The longest value fits into a URL however many bytes its characters take when encoded."""
    values = ["\U0001f600" * 850, "'" * 850, '"' * 850]
    ids = directory.keep(*values)
    assert _ids(_run(directory, values)) == sorted(ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"table": "account"}, "The table is 'account'"), ({"column": "a eq 1 or b"}, "match_on is 'a eq 1 or b'")],
)
def test_names_that_are_no_table_or_column_are_refused(directory, options, message):
    """A table or column that is no plain name is refused before anything is sent."""
    directory.keep("a")
    with pytest.raises(CijInputError, match=message):
        _run(directory, ["a"], **options)
    assert directory.requests == []


def test_queries_run_at_the_connections_concurrency(directory):
    """Queries run at the same time, at most as many as the connection's ``max_concurrency``."""
    directory.keep()
    directory.busy = 0.1
    intake = _run(directory, [f"{number:0>50}" for number in range(6000)], max_concurrency=3)
    assert intake.not_found == 6000
    assert 1 < directory.most <= 3


def test_the_list_is_not_read_ahead(directory):
    """No more of the list is read than the queries in flight need, for it may be larger than the memory."""
    directory.keep()
    read, seen = 0, []

    async def chunks():
        nonlocal read
        for start in range(0, 20_000, 1000):
            read += 1
            yield range(1000), [f"{start + place:0>50}" for place in range(1000)]

    async def main():
        async with DataverseClient(directory.settings(max_concurrency=2)) as client:
            await match(client, chunks(), table="contact", column="code", on_progress=lambda *_: seen.append(read))

    asyncio.run(main())
    assert seen[0] <= 4
    assert read == 20


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 4))
def test_recent_values_are_remembered_in_bounded_memory(values, size):
    """The most recent values are remembered, older ones are dropped, and none is invented."""
    recent, fresh = matching._RecentlySeen(size), []
    for place, value in enumerate(values):
        met = recent.met(bytes([value]))
        assert not met or value in values[:place]
        assert met or value not in fresh[-size:]
        fresh += [] if met else [value]
        assert len(recent._recent) + len(recent._older) <= 2 * size


ADDRESS = "ada.lovelace@contoso.test"


def _failing(scripted, *answers):
    scripted.script = list(answers)
    with pytest.raises((CijRefusedError, CijServerError, CijReplyError)) as caught:
        _run(scripted, ["x", ADDRESS], rules=RetryPolicy(max_attempts=1))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.as_dict())
    assert "lovelace" not in shown
    assert "lovelace" not in repr(caught.value.__context__)
    return caught.value


def _refusal(status, words):
    return Answer(status, {"error": {"code": "0x80060888", "message": words}}, {"REQ_ID": "abc"})


@pytest.mark.parametrize(("status", "kind"), [(400, CijRefusedError), (500, CijServerError)])
def test_messages_that_may_repeat_an_address_are_withheld(scripted, status, kind):
    """A message that may repeat an address is withheld; code, status and request id stay."""
    words = f"Syntax error at position 12 in 'In(PropertyName='code',PropertyValues=[\"{ADDRESS}"
    error = _failing(scripted, _refusal(status, words), Answer(body={"value": []}))
    assert type(error) is kind
    assert (error.code, error.http_status, error.request_id) == ("0x80060888", status, "abc")
    assert "2 values of code, lines 1 to 2, failed" in str(error)
    assert "Does every value fit the type of code?" in str(error)


def test_a_refusal_without_values_keeps_the_services_message(scripted):
    """A query repeated without values gives the service's own message, such as a missing privilege."""
    words = "Principal user is missing prvReadContact privilege"
    error = _failing(scripted, _refusal(403, f"no {ADDRESS}"), _refusal(403, words))
    assert words in str(error)
    assert [ADDRESS in str(dict(parse_qsl(request.path))) for request in scripted.requests] == [True, False]


def test_a_row_without_an_id_is_an_error(scripted):
    """A row without the id column is an unreadable response."""
    assert "a row without contactid" in str(_failing(scripted, Answer(body={"value": [{"code": "x"}]})))


@pytest.mark.parametrize(
    ("table", "entity_set", "key"), [("contact", "contacts", "contactid"), ("lead", "leads", "leadid")]
)
def test_the_sandbox_finds_unusual_addresses(organisation, table, entity_set, key):
    """The sandbox finds unusual addresses, people who share one, and inactive records."""
    mine = uuid.uuid4().hex
    ids, emails = [str(uuid.uuid4()) for _ in TRICKY], [f"{mine}{text}" for text in TRICKY]
    twin, idle = str(uuid.uuid4()), str(uuid.uuid4())
    inactive = {"statecode": 1, "statuscode": 2} if table == "contact" else {"statecode": 2, "statuscode": 7}
    told = []

    async def main(cij):
        people = [*zip(ids, emails, strict=True), (twin, emails[0].upper()), (idle, f"{mine}idle")]
        for contact_id, email in people:
            await cij.dataverse.post(entity_set, {key: contact_id, "emailaddress1": email}, repeatable=True)
        await cij.dataverse.patch(f"{entity_set}({idle})", inactive)
        values = [f"{mine}nobody", *emails, f" {mine.upper()}IDLE "]
        chunks = stream([(range(len(values)), values)])
        found = await match(cij.dataverse, chunks, table=table, column="emailaddress1", on_not_found=told.extend)
        for contact_id, _ in people:  # other tests count
            await cij.dataverse.delete(f"{entity_set}({contact_id})")
        return found

    intake = organisation(main)
    # The sandbox takes an accent apart from its letter for another spelling; it is asked for the usual one.
    apart = ids[TRICKY.index("jose\u0301@contoso.test")]
    assert set(_ids(intake)) == {*ids, twin, idle} - {apart}
    assert told == [(0, f"{mine}nobody")]
    assert (intake.read, intake.invalid, intake.duplicate) == (len(TRICKY) + 2, 0, 2)


def test_an_unknown_column_is_explained(organisation):
    """An unknown column gives the service's message and a hint to check the column's name."""

    async def main(cij):
        await match(cij.dataverse, stream([([1], [ADDRESS])]), table="contact", column="emailadress1")

    with pytest.raises(CijRefusedError, match=r"emailadress1.*Is 'emailadress1' a column's logical name in contacts\?"):
        organisation(main)


def test_a_value_of_the_wrong_type_is_explained_without_showing_it(organisation):
    """The error for a value of the wrong type names the column and the lines, not the value."""

    async def main(cij):
        await match(cij.dataverse, stream([([1, 2], ["3", ADDRESS])]), table="contact", column="numberofchildren")

    with pytest.raises(CijRefusedError, match=r"lines 1 to 2, failed.*fit the type of numberofchildren") as caught:
        organisation(main)
    assert "lovelace" not in str(caught.value)
