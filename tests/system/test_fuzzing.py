"""Any response, connection or file gives a value or a CijError."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import uuid

import pyarrow
import pyarrow.parquet
import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.pages import page_of, page_of_text, paging_inputs
from airflow_provider_cij.api.segments.models import Definition, Execution, Segment, groups_of
from airflow_provider_cij.api.segments.stop import stop_results_of
from airflow_provider_cij.api.segments.wait import began_since
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.settings import Settings, organisation_url
from airflow_provider_cij.errors import CijError, CijInputError, CijReplyError
from airflow_provider_cij.hooks.cij import settings_of
from airflow_provider_cij.sources import FromFile
from tests.streams import read_source

GUID = str(uuid.UUID(int=7))
DEEP = "[" * 100_000
words = st.one_of(st.text(max_size=12), st.sampled_from([GUID, GUID.upper(), "Include", "1", "1e999", "NaN", DEEP]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from(
                    ["groupId", "includeType", "name", "SegmentId", "members", "totalCount", "hasNextPage"]
                ),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)
texts = st.one_of(words, json_values.map(json.dumps), st.just(DEEP), st.just('{"a":' * 50_000))


def _rows(*columns: str):
    return st.dictionaries(st.sampled_from(columns), st.one_of(json_values, texts), max_size=len(columns))


segments = _rows("msdynmkt_segmentid", "statuscode", "msdynmkt_membercount", "msdynmkt_displayname")
definitions = _rows("msdynmkt_segmentquery", "msdynmkt_staticlistmembers", "msdynmkt_disablesegmentrefresh")
executions = _rows("msdynmkt_segmentexecutionid", "statuscode", "msdynmkt_startedon")
answers = _rows("ResultText", "StatusCode", "Response", "StopSingleSegmentResults", "stopsinglesegmentresults")
READERS = {
    "a segment": (segments, Segment.of),
    "a definition": (definitions, Definition.of),
    "an evaluation": (executions, Execution.of),
    "groups": (st.one_of(texts, json_values), groups_of),
    "what was stopped": (answers, stop_results_of),
    "a page of members": (answers, lambda answer: page_of(answer, "ResultText", "members")),
    "a page as text": (texts, lambda text: page_of_text(text, "members")),
    "inputs of an action": (st.lists(json_values), paging_inputs),
}


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
def test_any_response_is_a_value_or_a_cij_error(reader, data):
    """Responses of any JSON, shape and depth give a value or a CijError."""
    strategy, read = READERS[reader]
    try:
        read(data.draw(strategy))
    except CijError:
        pass


@given(st.one_of(texts, st.datetimes().map(str)), st.floats(0, 2e9))
def test_any_start_time_is_accepted_by_the_wait(text, since):
    """An evaluation with an unreadable start time counts as not begun."""
    assert began_since(Execution("", 1, text), since) in (True, False)


fields = st.sampled_from(
    [
        *("tenant_id", "credential", "certificate_path", "certificate_private_key", "private_key_passphrase"),
        *("federated_token_file", "authority", "api_version", "ca_bundle", "max_concurrency", "timeout_seconds"),
        *("max_throttle_wait_seconds", "caller_object_id", "managed_identity_client_id"),
    ]
)
hosts = st.one_of(
    st.text(max_size=20),
    st.tuples(
        st.sampled_from(["", "https://", "http://", "HTTPS://", "//"]),
        st.sampled_from(
            ["contoso.crm.dynamics.com", "[::1]", "[::", "localhost", "a b", "user:canary@x", "\u2100", ""]
        ),
        st.sampled_from(["", ":443", ":0", ":99999", ":x", "/", "/?", "#"]),
    ).map("".join),
)
GOOD = {"tenant_id": "t", "credential": "client_secret"}


@given(hosts, st.dictionaries(fields, st.one_of(json_values, texts), max_size=4))
def test_any_connection_is_valid_or_a_cij_error(host, extra):
    """Any connection can be opened or gives a CijError."""
    connection = Connection(
        conn_id="x", conn_type="cij", host=host, login="c", password="s", extra=json.dumps(GOOD | extra)
    )
    try:
        settings = settings_of(connection)
        assert settings.login_url.startswith("https://")
        assert organisation_url(settings.base_url) == settings.base_url
        assert settings.timeout_seconds > 0
    except CijInputError:
        pass


@pytest.mark.parametrize("extra", ["[1]", "7", '"text"', "{", "null", DEEP, '{"max_concurrency": Infinity}'])
def test_an_invalid_extra_is_named(extra):
    """An extra that is no JSON object, or holds invalid numbers, is reported without its content."""
    connection = Connection(conn_id="x", conn_type="cij", host="h.test", login="c", password="s", extra=extra)
    with pytest.raises(CijInputError, match=r"extra is no JSON object|lacks the tenant id|is no number"):
        settings_of(connection)


@given(hosts)
def test_any_accepted_host_can_be_opened(host):
    """A host that Settings accept can be opened by the client."""
    try:
        settings = Settings(organisation_url(host), "t", "c", client_secret="s")
    except CijInputError:
        return

    async def main():
        async with DataverseClient(settings):
            pass

    asyncio.run(main())
    assert settings.base_url.startswith(("https://", "http://localhost", "http://[::1]"))


def _csv(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _parquet() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"id": [GUID] * 50, "name": ["Ada"] * 50}), out)
    return out.getvalue()


PARQUET = _parquet()
SOUND = {
    "x.csv": _csv([["id", "name"], [GUID, 'a "b"\r\nc']]),
    "x.tsv": b"id\tname\n",
    "x.jsonl": b'{"id": 1}\n{"id": "x"}\n',
    "x.csv.gz": gzip.compress(b"id\nx\n", mtime=0),
    "x.parquet": PARQUET,
}


def _damaged(content: bytes):
    """Return bytes that are changed, truncated or random."""
    flips = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)

    def flip(changes: list[tuple[int, int]]) -> bytes:
        changed = bytearray(content)
        for place, byte in changes:
            changed[place] = byte
        return bytes(changed)

    return st.one_of(
        flips.map(flip), st.integers(0, len(content)).map(lambda end: content[:end]), st.binary(max_size=60)
    )


@pytest.mark.parametrize("name", SOUND)
@given(data=st.data())
def test_any_file_is_read_or_a_cij_error(tmp_path_factory, name, data):
    """Files that are damaged, truncated or of another kind give rows or a CijError, with any options."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data.draw(_damaged(SOUND[name])))
    column = data.draw(st.one_of(st.none(), st.integers(-2, 3), st.sampled_from(["id", "name", ""])))
    delimiter = data.draw(st.sampled_from([None, ";", "ab", '"', "\n", "\u20ac"]))
    encoding = data.draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "latin-1", "undefined", "hex", "x", "idna"]))
    try:
        read_source(FromFile(str(path), column, delimiter=delimiter, encoding=encoding))
    except CijError:
        pass


def test_a_negative_column_number_is_refused(tmp_path):
    """A negative column number is refused, for Python would take it from the end."""
    path = tmp_path / "x.csv"
    path.write_text(f"Ada,{GUID}\n")
    with pytest.raises(CijInputError, match=r"column is -1\. Columns are counted from 0"):
        read_source(FromFile(str(path), -1))


def test_a_disk_error_halfway_is_retryable():
    """A disk error in the middle of a file raises a retryable error."""
    with pytest.raises(CijError, match=r"'/proc/self/mem' can't be read to its end: .*Input/output error") as caught:
        read_source(FromFile("/proc/self/mem"))
    assert not isinstance(caught.value, (CijInputError, CijReplyError))
