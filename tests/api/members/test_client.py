"""Adding and listing members: against the sandbox, and against a scripted service."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from threading import Event, Lock

import pytest

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.models import MemberGroup, Segment
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import CijIncompleteError, CijRefusedError
from tests.api.members.documented_list import AS_DOCUMENTED, A, B
from tests.scripted import Answer

GROUP = str(uuid.uuid4())


def _some(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def _ids(values):
    ids = IdSet()
    ids.update(pack_guids(values)[0])
    return ids


async def _all(pages) -> list[str]:
    return [member async for page in pages for member in page]


def test_added_members_are_listed_by_group_and_by_segment(organisation, key):
    """12,345 ids are added in 13 calls and listed by group and, after an evaluation, by segment."""
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
        await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.1, deadline=time.time() + 20)
        assert sorted(await _all(cij.members.of_segment(spec.segment_id))) == sorted(people[45:])

    organisation(main)
    assert [done for done, _, _ in told] == list(range(1, 14))
    assert told[-1] == (13, 13, 12_345)


def test_adding_members_is_idempotent(organisation, key):
    """Adding the same members again leaves each of them in the group once."""
    people = _some(1500)

    async def main(cij):
        made = await cij.segments.create(SegmentSpec(key, "Test", groups=(MemberGroup("in"),)))
        for part in (people, people[:700], people[300:]):
            await cij.members.add(made.segment_id, made.groups["in"], _ids(part))
        return await _all(cij.members.of_group(made.segment_id, made.groups["in"]))

    assert sorted(organisation(main)) == sorted(people)


def test_an_empty_list_sends_no_call(organisation, key):
    """An empty list sends no call, and an empty group lists as empty."""

    async def main(cij):
        made = await cij.segments.create(SegmentSpec(key, "Test", groups=(MemberGroup("in"),)))
        assert await cij.members.add(made.segment_id, made.groups["in"], _ids([])) == 0
        return await _all(cij.members.of_group(made.segment_id, made.groups["in"]))

    assert organisation(main) == []


def _members(scripted, *answers, work, **settings):
    scripted.script = list(answers)

    async def main():
        async with DataverseClient(scripted.settings(**settings)) as client:
            return await work(Members(client))

    return asyncio.run(main())


def test_a_refused_call_reports_the_progress(scripted):
    """A refused call reports how many calls had succeeded and that sending them again is safe."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "The group is full."}})
    with pytest.raises(
        CijRefusedError, match=r"The group is full\..* 2 of 4 calls had succeeded; sending them again is safe"
    ):
        _members(
            *[scripted, Answer(204), Answer(204), no],
            work=lambda members: members.add(GROUP, GROUP, _ids(_some(4000))),
            max_concurrency=1,
        )


def test_adds_run_at_the_connections_concurrency(scripted):
    """Calls run at the same time, at most as many as the connection's ``max_concurrency``."""
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
        work=lambda members: members.add(GROUP, GROUP, _ids(_some(12_000))),
        max_concurrency=4,
    )
    assert 1 < most <= 4


def _page(ids, **others) -> Answer:
    return Answer(body={"StatusCode": 200, "ResultText": json.dumps({"members": ids, **others})})


def _inputs(*names: str) -> Answer:
    return Answer(body={"value": [{"CustomAPIRequestParameters": [{"uniquename": name} for name in names]}]})


def _place_of_page(second):
    """Return a function that places responses: the first page, the inputs, and the pages from the second one on."""

    def place(request):
        number = json.loads(request.body or b'{"PageNo": 0}').get("PageNo")
        return 0 if number is None else 2 + number - second if number else 1

    return place


def test_paging_inputs_are_looked_up(scripted):
    """The names of the paging inputs are looked up in the organisation."""
    a, b, c = _some(3)
    scripted.place_of = _place_of_page(second=2)
    found = _members(
        scripted,
        _page([a], hasNextPage=True, pageNumber=1, pageSize=1, totalCount=3),
        _inputs("SegmentId", "PageNo", "PageSize"),
        _page([b], hasNextPage=True, pageNumber=2, totalCount=3),
        _page([c], hasNextPage=False, pageNumber=3, totalCount=3),
        work=lambda members: _all(members.of_segment(GROUP)),
    )
    assert found == [a, b, c]
    assert any(b'"PageSize": 1, "PageNo": 3' in request.body for request in scripted.requests)


@pytest.mark.parametrize("pages", [1, 2])
def test_paging_inputs_are_looked_up_beside_the_first_page(scripted, pages):
    """For a segment of more than a page by its row, the inputs are looked up while the first page is read."""
    people, asked, place = _some(pages), Event(), _place_of_page(second=2)

    def place_of(request):
        if (found := place(request)) == 1:
            asked.set()
        return found

    def first():
        assert asked.wait(10)
        body = _page(people[:1], hasNextPage=pages > 1, totalCount=pages).body
        text = json.dumps(body).encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text

    scripted.place_of = place_of
    found = _members(
        *[scripted, Answer(raw=first), _inputs("PageNo")],
        _page(people[1:], hasNextPage=False, totalCount=pages),
        work=lambda members: _all(members.of_segment(Segment(GROUP, GROUP, "VIP", "contact", 1, 5001))),
    )
    assert found == people


@pytest.mark.parametrize("numbered", [{}, {"pageNumber": 0}])
def test_pages_are_numbered_by_the_client_when_needed(scripted, numbered):
    """Where pages carry no number the client counts them, from 1 or from the number of the first page."""
    people = _some(3)
    pages = [_page([member], hasNextPage=member != people[-1]) for member in people[1:]]
    first = _page(people[:1], hasNextPage=True, **numbered)
    work = lambda members: _all(members.of_segment(GROUP))  # noqa: E731
    second = 1 if numbered else 2
    scripted.place_of = _place_of_page(second)
    assert _members(scripted, first, _inputs("PageNo"), *pages, work=work) == people
    page_numbers = sorted(json.loads(request.body)["PageNo"] for request in scripted.requests[2:])
    assert page_numbers[: len(pages)] == list(range(second, second + len(pages)))
    # Of the pages that are read ahead, eight at once, some may not have been sent.
    assert len(set(page_numbers)) == len(page_numbers)
    assert page_numbers[-1] < second + len(pages) + 8


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
def test_an_incomplete_list_is_an_error(scripted, answers):
    """Empty, repeated, shifted or missing pages are an error: a part never passes for the whole list."""
    with pytest.raises(CijIncompleteError):
        _members(scripted, *answers, work=lambda members: _all(members.of_segment(GROUP)))


@pytest.mark.parametrize("there", [0, 1, 3])
def test_pages_that_a_group_likely_has_are_read_beside_the_first(scripted, there):
    """A group that is to hold 10,001 members is asked for three pages at once; those that it lacks are discarded."""
    pages, third = [_some(2) for _ in range(there)], Event()

    def place(request):
        number = json.loads(request.body)["PageNo"]
        if number == 3:
            third.set()
        return number - 1

    def first():
        assert third.wait(10)
        text = json.dumps({"Response": json.dumps({"entityIds": pages[0] if pages else []})}).encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text

    scripted.place_of = place
    wanted = _some(10_001)
    plan = _members(
        *[scripted, Answer(raw=first)],
        *(Answer(body={"Response": json.dumps({"entityIds": ids})}) for ids in [*pages[1:], []]),
        work=lambda members: members.plan(GROUP, [MemberGroup("in", group_id=GROUP)], _ids(wanted)),
    )
    assert (plan.there, plan.removals, len(plan.missing)) == (2 * there, 2 * there, 10_001)


@pytest.mark.parametrize("job", ["listed", "counted", "planned"])
def test_a_group_that_shifts_while_it_is_listed_is_an_error(scripted, job):
    """An id on two pages of a group is an error, whatever the list is for: another id may be missing."""
    a, b, twice = _some(3)
    pages = [Answer(body={"Response": json.dumps({"entityIds": ids})}) for ids in ([a, twice], [b, twice], [])]
    works = {
        "listed": lambda members: _all(members.of_group(GROUP, GROUP)),
        "counted": lambda members: members.count(GROUP, GROUP),
        "planned": lambda members: members.plan(GROUP, [MemberGroup("in", group_id=GROUP)], _ids([a, b, twice])),
    }
    scripted.place_of = lambda request: min(json.loads(request.body)["PageNo"], 3) - 1
    with pytest.raises(CijIncompleteError, match="1 members came twice"):
        _members(scripted, *pages, work=works[job])


def test_a_short_page_of_a_group_is_not_the_last(scripted):
    """A short page of a group does not end its list; an empty page does."""

    def page(ids):
        return Answer(body={"Response": json.dumps({"entityIds": ids})})

    a, b = _some(2)
    assert _members(
        *[scripted, page([a]), page([b]), page([])], work=lambda members: _all(members.of_group(GROUP, GROUP))
    ) == [a, b]
    with pytest.raises(CijIncompleteError, match="does not turn pages"):
        _members(scripted, page([a]), work=lambda members: _all(members.of_group(GROUP, GROUP)))


def _numbered_group(scripted, sizes, seconds=0.0):
    """Let the server answer with pages of a group of these sizes, by their numbers, and return the ids."""
    pages = [_some(size) for size in sizes]
    empty = Answer(body={"Response": json.dumps({"entityIds": []})})
    answers = [Answer(body={"Response": json.dumps({"entityIds": page})}) for page in pages]
    scripted.place_of = lambda request: json.loads(request.body)["PageNo"] - 1
    counted, answer, scripted.most, now = Lock(), scripted.answer, 0, 0

    def slow(request):
        nonlocal now
        if "ListGroupMembers" not in request.path:
            return answer(request)
        with counted:
            now += 1
            scripted.most = max(scripted.most, now)
        time.sleep(seconds / (1 + json.loads(request.body)["PageNo"] % 3))
        with counted:
            now -= 1
        return answer(request)

    scripted.answer = slow
    return [*answers, empty], [member for page in pages for member in page]


def test_pages_are_read_side_by_side_in_their_order(scripted):
    """Pages of a group are read side by side, as many as ``max_concurrency`` allows, and given in their order."""
    answers, people = _numbered_group(scripted, [5000] * 12 + [7], 0.1)
    work = lambda members: _all(members.of_group(GROUP, GROUP))  # noqa: E731
    assert _members(scripted, *answers, work=work, max_concurrency=4) == people
    assert 1 < scripted.most <= 4
    assert 14 <= len(scripted.requests) <= 14 + 4


def test_a_short_list_is_not_read_ahead(scripted):
    """A group whose first page is short takes two requests, and counting to a number no more than its pages."""
    answers, people = _numbered_group(scripted, [300])
    assert _members(scripted, *answers, work=lambda members: _all(members.of_group(GROUP, GROUP))) == people
    assert len(scripted.requests) == 2
    scripted.requests.clear()
    answers, _ = _numbered_group(scripted, [5000] * 10)
    assert _members(scripted, *answers, work=lambda members: members.count(GROUP, GROUP, 12_000)) == 15_000
    assert len(scripted.requests) == 3


@pytest.mark.parametrize("place", [1, 6, 11])
def test_a_page_that_is_refused_fails_the_list(scripted, place):
    """A page that is refused is an error wherever it stands, but not behind the end of the list."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "No such page."}})
    answers, people = _numbered_group(scripted, [5000] * 10)
    answers = [*answers[:place], no, *answers[place:]] if place < 11 else [*answers, no]
    work = lambda members: _all(members.of_group(GROUP, GROUP))  # noqa: E731
    if place < 11:
        with pytest.raises(CijRefusedError, match="No such page"):
            _members(scripted, *answers, work=work)
    else:
        assert _members(scripted, *answers, work=work) == people


def test_the_documented_response_is_read(scripted):
    """The response that the documents print, which is not valid JSON, is read."""
    body = Answer(200, AS_DOCUMENTED.encode())
    assert _members(scripted, body, work=lambda members: _all(members.of_segment(GROUP))) == [A, B]
