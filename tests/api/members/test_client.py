"""The verbs on members, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from threading import Lock

import pytest

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.groups import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import Goal, wait
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.odata import keys_of
from airflow_provider_cij.errors import CijIncompleteError, CijRefusedError
from tests.api.members.documented_list import AS_DOCUMENTED, A, B
from tests.scripted import Answer

GROUP = str(uuid.uuid4())


def _some(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def _ids(values):
    ids = IdSet()
    ids.update(keys_of(values)[0])
    return ids


async def _all(pages) -> list[str]:
    return [one async for page in pages for one in page]


def test_what_goes_in_comes_out(organisation, key):
    """12,345 ids in 13 calls, listed by group and, once evaluated, by segment; the excluded are out."""
    people = _some(12_345)
    spec = SegmentSpec(key, "Test", groups=(MemberGroup("in"), MemberGroup("out", False)))
    told: list[tuple[int, int, int]] = []

    async def main(cij):
        made = await cij.segments.create(spec)
        into, out = made.groups["in"], made.groups["out"]
        assert await cij.members.add(spec.segment_id, into, _ids(people), lambda *now: told.append(now)) == 13
        assert await cij.members.add(spec.segment_id, out, _ids(people[:45])) == 1
        assert sorted(await _all(cij.members.of_group(spec.segment_id, into))) == sorted(people)
        assert await _all(cij.members.of_segment(spec.segment_id)) == []
        await cij.segments.publish(spec.segment_id)
        await wait(cij.segments, spec.segment_id, Goal(), poll_interval=0.1, deadline=time.time() + 20)
        assert sorted(await _all(cij.members.of_segment(spec.segment_id))) == sorted(people[45:])

    organisation(main)
    assert [done for done, _, _ in told] == list(range(1, 14))
    assert told[-1] == (13, 13, 12_345)


def test_adding_twice_is_as_good_as_once(organisation, key):
    """Groups are sets."""
    people = _some(1500)

    async def main(cij):
        made = await cij.segments.create(SegmentSpec(key, "Test", groups=(MemberGroup("in"),)))
        for part in (people, people[:700], people[300:]):
            await cij.members.add(made.segment_id, made.groups["in"], _ids(part))
        return await _all(cij.members.of_group(made.segment_id, made.groups["in"]))

    assert sorted(organisation(main)) == sorted(people)


def test_nobody_is_nobody(organisation, key):
    """No call for an empty list; an empty group lists as empty."""

    async def main(cij):
        made = await cij.segments.create(SegmentSpec(key, "Test", groups=(MemberGroup("in"),)))
        assert await cij.members.add(made.segment_id, made.groups["in"], _ids([])) == 0
        return await _all(cij.members.of_group(made.segment_id, made.groups["in"]))

    assert organisation(main) == []


def _members(scripted, *answers, talk, **settings):
    scripted.script = list(answers)

    async def main():
        async with DataverseClient(scripted.settings(**settings)) as client:
            return await talk(Members(client))

    return asyncio.run(main())


def test_a_refused_call_says_how_far_it_got(scripted):
    """And that going over it again is safe."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "The group is full."}})
    with pytest.raises(
        CijRefusedError, match=r"The group is full\..* 2 of 4 calls had succeeded; sending them again is safe"
    ):
        _members(
            *[scripted, Answer(204), Answer(204), no],
            talk=lambda members: members.add(GROUP, GROUP, _ids(_some(4000))),
            max_concurrency=1,
        )


def test_never_more_at_once_than_allowed(scripted):
    """The connection's max_concurrency holds, and is used."""
    counted, now, most = Lock(), 0, 0
    answer = scripted.answer

    def slow(request):
        nonlocal now, most
        with counted:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with counted:
            now -= 1
        return answer(request)

    scripted.answer = slow
    _members(
        *[scripted, Answer(204)],
        talk=lambda members: members.add(GROUP, GROUP, _ids(_some(12_000))),
        max_concurrency=4,
    )
    assert 1 < most <= 4


def _page(ids, **others) -> Answer:
    return Answer(body={"StatusCode": 200, "ResultText": json.dumps({"members": ids, **others})})


def _inputs(*names: str) -> Answer:
    return Answer(body={"value": [{"CustomAPIRequestParameters": [{"uniquename": name} for name in names]}]})


def test_pages_are_asked_for_as_the_organisation_says(scripted):
    """The names of the paging inputs are in no document: they are looked up, not guessed."""
    a, b, c = _some(3)
    found = _members(
        scripted,
        _page([a], hasNextPage=True, pageNumber=1, pageSize=1, totalCount=3),
        _inputs("SegmentId", "PageNo", "PageSize"),
        _page([b], hasNextPage=True, pageNumber=2, totalCount=3),
        _page([c], hasNextPage=False, pageNumber=3, totalCount=3),
        talk=lambda members: _all(members.of_segment(GROUP)),
    )
    assert found == [a, b, c]
    assert b'"PageSize": 1, "PageNo": 3' in scripted.asked[-1].body


@pytest.mark.parametrize("numbered", [{}, {"pageNumber": 0}])
def test_pages_are_counted_when_the_service_does_not(scripted, numbered):
    """From 1, or from where its first page says."""
    people = _some(3)
    pages = [_page([one], hasNextPage=one != people[-1]) for one in people[1:]]
    first = _page(people[:1], hasNextPage=True, **numbered)
    talk = lambda members: _all(members.of_segment(GROUP))  # noqa: E731
    assert _members(scripted, first, _inputs("PageNo"), *pages, talk=talk) == people
    asked = [json.loads(request.body)["PageNo"] for request in scripted.asked[2:]]
    assert asked == ([1, 2] if numbered else [2, 3])


@pytest.mark.parametrize(
    "answers",
    [
        [_page(_some(1), hasNextPage=True), _inputs("SegmentId")],
        [_page(_some(1), hasNextPage=True), Answer(403, {"error": {"code": "0x80040220", "message": "no"}})],
        [_page(_some(1), hasNextPage=True), _inputs("PageNo"), _page([], hasNextPage=True)],
        [_page([GROUP], hasNextPage=True), _inputs("PageNo"), _page([GROUP], hasNextPage=True)],
        [_page(_some(1), hasNextPage=True, pageNumber=1), _inputs("PageNo"), _page(_some(1), pageNumber=1)],
        [_page(_some(1), hasNextPage=False, totalCount=2)],
        [_page(_some(1), hasNextPage=True, totalCount=2), _inputs("PageNo"), _page(_some(1), totalCount=3)],
        [_page([GROUP, *_some(1)], hasNextPage=True), _inputs("PageNo"), _page([GROUP, *_some(1)])],
    ],
)
def test_a_list_cut_short_is_an_error(scripted, answers):
    """No way to the rest, an empty, repeated or shifted page, fewer than there are: never a part for the whole."""
    with pytest.raises(CijIncompleteError):
        _members(scripted, *answers, talk=lambda members: _all(members.of_segment(GROUP)))


def test_a_short_page_of_a_group_is_not_the_last(scripted):
    """The service may give fewer than it is asked for; an empty page ends the list."""

    def page(ids):
        return Answer(body={"Response": json.dumps({"entityIds": ids})})

    a, b = _some(2)
    assert _members(
        *[scripted, page([a]), page([b]), page([])], talk=lambda members: _all(members.of_group(GROUP, GROUP))
    ) == [a, b]
    with pytest.raises(CijIncompleteError, match="does not turn pages"):
        _members(scripted, page([a]), talk=lambda members: _all(members.of_group(GROUP, GROUP)))


def test_the_documented_answer_is_read(scripted):
    """The body that the documents print, which is no JSON."""
    body = Answer(200, AS_DOCUMENTED.encode())
    assert _members(scripted, body, talk=lambda members: _all(members.of_segment(GROUP))) == [A, B]
