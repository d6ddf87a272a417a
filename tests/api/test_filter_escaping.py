"""Values in filters are escaped: through every method that filters, against the sandbox."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.match import match, normalize
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.errors import CijIncompleteError, CijInputError, CijNotFoundError
from airflow_provider_cij.hooks.cij import Cij, settings_of
from tests.streams import stream

NASTY = [
    "O'Brien",
    "O'Brien' or 1 eq 1",
    "' or 1 eq 1 or msdynmkt_displayname eq '",
    "') or (1 eq 1",
    "''",
    "50% off & more",
    "a+b c#d?e=f;g/h\\i",
    "%27 or 1 eq 1",
    "&$top=1",
    "&$filter=1 eq 1",
    '"quoted", [listed]',
    "Z\u00fcrich \u20ac \U0001f600 \u00e9",
    "two\nlines\tand a tab",
    "$skiptoken=<cookie/>",
    "null",
]
# Names are not trimmed, but an empty one is refused.
visible = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).map(str.strip).filter(bool)
nasty = st.one_of(
    st.sampled_from(NASTY), st.text("'\"%&#+?=;,()[]{}\\/$ \u00e4\u20ac or1eq", min_size=1, max_size=30), visible
)


@pytest.fixture(scope="module")
def runner():
    """Keep one event loop so that one open client serves all examples."""
    with asyncio.Runner() as event_loop:
        yield event_loop


@pytest.fixture(scope="module")
def run(cij_sandbox, runner):
    """Return a function that runs coroutine functions on one open client."""
    client = DataverseClient(settings_of(Connection.from_uri(cij_sandbox.airflow_conn_uri, conn_id="x")))
    runner.run(client.__aenter__())
    cij = Cij.on(client)
    yield lambda work: runner.run(work(cij))
    runner.run(client.__aexit__())


@pytest.fixture(scope="module")
def named(run):
    """Create a segment for each unusual name, each with a prefix of this test run."""
    begin = uuid.uuid4().hex

    async def make(cij):
        for name in NASTY:
            text = f"{begin} {name}"
            await cij.segments.create(SegmentSpec(text, text, groups=tuple(map(MemberGroup, NASTY[:10]))))

    run(make)
    return begin


@given(text=nasty)
def test_find_returns_segments_by_the_start_of_their_name(run, named, text):
    """A search finds the segments whose name begins with the text, and no others."""
    found = run(lambda cij: cij.segments.find(f"{named} {text}"))
    expected = {name for name in NASTY if name.lower().startswith(text.lower())}
    assert {segment.display_name.removeprefix(f"{named} ") for segment in found} == expected


@given(text=nasty)
def test_an_unknown_name_finds_nothing(run, named, text):
    """A name that no segment has finds nothing, whatever it would mean as a filter."""
    assert run(lambda cij: cij.segments.find(f"'{uuid.uuid4()}{text}")) == []


@given(text=nasty)
def test_a_text_that_is_no_id_is_never_sent(run, text):
    """A text that is no id is refused before it gets into a filter or a path."""
    verbs = (
        lambda cij: cij.segments.get(text),
        lambda cij: cij.segments.delete(text),
        lambda cij: cij.segments.stop([text]),
        lambda cij: cij.segments.executions([(text, "2026-01-01T00:00:00Z")]),
    )
    for verb in verbs:
        with pytest.raises(CijInputError, match="is no GUID"):
            run(verb)
    assert run(lambda cij: cij.segments.get_many([str(uuid.uuid4())])) == {}


def test_a_definitions_id_finds_its_own_segment(run, named):
    """A definition's id in any spelling finds its segment, and an unknown id finds none."""
    spec = SegmentSpec(f"{named} {NASTY[1]}", "x")
    for spelling in (str, str.upper, "{{{}}}".format):
        segment = run(lambda cij, spell=spelling: cij.segments.get(spell(spec.definition_id)))
        assert segment.segment_id == spec.segment_id
    with pytest.raises(CijNotFoundError):
        run(lambda cij: cij.segments.get(str(uuid.uuid4())))


@given(text=nasty)
def test_a_group_is_found_by_its_whole_name(run, named, text):
    """A group is found by its whole name, not by a part or a pattern."""
    spec = SegmentSpec(f"{named} {NASTY[0]}", "x")

    async def look(cij):
        return await cij.segments.group(await cij.segments.get(spec.segment_id), text)

    if text in NASTY[:10]:
        assert run(look).name == text
    else:
        with pytest.raises(CijInputError, match="has no group"):
            run(look)


@pytest.fixture(scope="module")
def people(run):
    """Create a contact for each unusual job title."""
    ids = {}

    async def make(cij):
        for name in NASTY:
            ids[name] = str(uuid.uuid4())
            row = {"contactid": ids[name], "jobtitle": name, "lastname": "x"}
            await cij.dataverse.post("contacts", row, repeatable=True)

    run(make)
    return ids


@given(texts=st.lists(nasty, min_size=1, max_size=12))
def test_a_value_matches_only_itself(run, people, texts):
    """Each value matches only its own contact, and values that no column can hold are counted and not sent."""
    chunks = [(range(1, len(texts) + 1), texts)]

    async def find(cij):
        found = await match(cij.dataverse, stream(chunks), table="contact", column="jobtitle")
        return [contact_id for batch in found.ids.batches(100) for contact_id in batch], found

    wanted = {normalize(text.strip()) for text in texts}
    expected = {row_id for name, row_id in people.items() if normalize(name) in wanted and "\n" not in name}
    if not any(text.strip() and "\n" not in text for text in texts):
        with pytest.raises(CijInputError, match="None of the"):
            run(find)
        return
    ids, intake = run(find)
    assert set(ids) == expected
    assert intake.invalid + intake.duplicate + intake.not_found + len(expected) == len(texts)


@given(text=nasty)
def test_eq_compares_the_whole_text(run, people, text):
    """An ``eq`` filter with a quoted literal finds the row with exactly this text."""
    path = query("contacts", select=("contactid", "jobtitle"), where=f"jobtitle eq {literal(text)}")
    rows = run(lambda cij: cij.dataverse.rows(path))
    assert {row["contactid"] for row in rows} == {
        contact_id for name, contact_id in people.items() if name.lower() == text.lower()
    }


@given(text=nasty)
def test_inputs_of_an_unknown_action_are_empty(run, text):
    """The inputs of an action are found by its whole name; an unknown action has none."""
    with pytest.raises(CijIncompleteError, match="no known input"):
        run(lambda cij: cij.members._paging_inputs(text))
