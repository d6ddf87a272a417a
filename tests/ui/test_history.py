"""The pure functions of the pages, called in a real Chromium: statistics, filters, order, CSV and formats."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page

from airflow_provider_cij.ui.plugin import STATIC
from tests.ui.browsers import chromium

DAY = 86_400_000
NOW = 1_800_000_000_000
ID = "11111111-1111-4111-8111-111111111111"
URI = f"cij://cij_default/segments/{ID}"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Open an empty page beside the modules."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(STATIC))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with chromium() as browser:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_address[1]}/icon.svg")
                yield page
        finally:
            server.shutdown()


def _call(page: Page, module: str, expression: str, argument: Any = None) -> Any:
    """Evaluate an expression over the names of a module, with ``given`` as its argument."""
    code = f"async (given) => {{ const m = await import(`/{module}`); return {expression}; }}"
    return page.evaluate(code, argument)


def _event(days_ago: float, task: str = "refresh", uri: str = URI, **extra: Any) -> dict[str, Any]:
    moment = f"new Date({NOW - days_ago * DAY}).toISOString()"
    return {"uri": uri, "source_dag_id": "weekly", "source_task_id": task, "timestamp": moment, "extra": extra}


def _segments(page: Page, events: list[dict[str, Any]], tasks: list[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return the records of segments for events and tasks, with times as milliseconds."""
    code = """m.segments(
      m.readEvents(given.events.map((event) => ({ ...event, timestamp: eval(event.timestamp), extra: {
        ...event.extra, ...(event.extra.evaluated_at ? { evaluated_at: eval(event.timestamp) } : {}) } }))),
      given.tasks.map((task) => m.readTask(task, task.note)), new Map([["weekly", ["news"]]]), given.now)"""
    return _call(page, "history.js", code, {"events": events, "tasks": list(tasks), "now": NOW})


def _evaluated(days_ago: float, members: int, **extra: Any) -> dict[str, Any]:
    return _event(
        days_ago, member_count=members, evaluated_at="then", status="live", name="VIP", segment_id=ID, **extra
    )


def _task(state: str, **others: Any) -> dict[str, Any]:
    task = {"dag_id": "weekly", "task_id": "fill", "dag_run_id": "r", "map_index": -1, "state": state}
    arguments = {"cij_conn_id": "cij_default", "segment_id": {"segment_id": ID.upper()}}
    return {**task, "operator_name": "CijMirrorSegmentMembersOperator", "rendered_fields": arguments, **others}


def test_changes_are_counted_since_the_last_run_and_over_a_week(page):
    """A change comes from the event, or from the evaluation before; over a week from the one a week earlier."""
    daily = [_evaluated(day, 1000 - 10 * day) for day in range(10, -1, -1)]
    (row,) = _segments(page, daily)
    assert (row["members"], row["change"], row["week"]) == (1000, 10, 70)
    assert row["weekShare"] == pytest.approx(70 / 930)
    assert (row["name"], row["tags"], len(row["recent"])) == ("VIP", ["news"], 11)
    (row,) = _segments(page, [_evaluated(0, 90, change=-10)])
    assert (row["change"], row["changeShare"], row["week"]) == (-10, -0.1, None)


def test_an_evaluation_that_two_tasks_report_counts_once(page):
    """Two events of the same evaluation are one point; counts of tasks that evaluate nothing are none."""
    twice = [_evaluated(7, 10), _evaluated(7, 10), _event(6, "fill", member_count=10, read=12, added=2, removed=0)]
    (row,) = _segments(page, twice)
    assert [point["members"] for point in row["points"]] == [10]
    assert (row["read"], row["added"], row["invalid"]) == (12, 2, None)


def test_a_segment_that_nothing_evaluates_shows_what_its_events_say(page):
    """Where no event names an evaluation, the counts of the lists' events are the points, and no age is claimed."""
    (row,) = _segments(page, [_event(7, "fill", member_count=5), _event(0, "fill", member_count=8)])
    assert ([point["members"] for point in row["points"]], row["evaluated"]) == ([5, 8], None)


@pytest.mark.parametrize(
    ("days", "category"), [((14, 7, 0), "live"), ((35, 28, 21), "stale"), ((13,), "live"), ((15,), "stale")]
)
def test_a_segment_is_stale_after_twice_its_usual_interval(page, days, category):
    """A weekly segment is stale after two weeks without an evaluation."""
    (row,) = _segments(page, [_evaluated(day, 1) for day in days])
    assert row["category"] == category


@pytest.mark.parametrize(
    ("task", "category"),
    [
        (_task("deferred"), "refreshing"),
        (_task("running"), "refreshing"),
        (_task("failed", note={"message": "The list is empty.", "hint": "Look."}), "failed"),
        (_task("up_for_retry"), "failed"),
        (_task("deferred", operator_name="CijSegmentSensor"), "live"),
    ],
)
def test_the_state_is_that_of_the_tasks_on_a_segment(page, task, category):
    """A task under way makes its segment refreshing, a failed one failed; a sensor only waits."""
    (row,) = _segments(page, [_evaluated(0, 1)], [task])
    assert row["category"] == category
    if task.get("note"):
        assert (row["error"], row["hint"]) == ("The list is empty.", "Look.")


def test_a_segment_whose_first_task_failed_is_shown(page):
    """A task that failed before anything was emitted has a row, with the failure."""
    (row,) = _segments(page, [], [_task("failed", rendered_map_index="New")])
    assert (row["name"], row["category"], row["members"], row["id"]) == ("New", "failed", None, ID)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "http://contoso.test", " https://contoso.test", 7])
def test_only_https_links_are_links(page, link):
    """A link of another kind is not offered."""
    (row,) = _segments(page, [_evaluated(0, 1, link=link)])
    assert row["link"] is None


WATCHED = {"segment_id": ID, "cij_conn_id": "cij_default", "name": "VIP"}


def _watched(days_ago: float, **payload: Any) -> dict[str, Any]:
    event = _event(days_ago, uri="vip_refreshed", from_trigger=True, payload={**WATCHED, **payload})
    return {**event, "name": "vip_refreshed", "source_dag_id": None, "source_task_id": None}


def test_a_watchers_event_is_of_the_segment_that_it_names(page):
    """A watcher's event, on an asset of any name, makes a row by itself, and counts beside the events of tasks."""
    (row,) = _segments(page, [_watched(0, status="live", member_count=7)])
    assert (row["id"], row["name"], row["members"], row["dag"], row["dags"]) == (ID, "VIP", 7, "", [])
    (row,) = _segments(page, [_evaluated(1, 5), _watched(0, status="failed")])
    assert (row["category"], row["dag"], row["task"], row["members"]) == ("failed", "weekly", "refresh", 5)
    assert row["error"] == "The last evaluation failed."


@pytest.mark.parametrize("wrong", [{"cij_conn_id": None}, {"cij_conn_id": "a/b"}, {"segment_id": "7"}])
def test_an_event_that_only_looks_like_a_watchers_is_left_out(page, wrong):
    """A payload without a connection or with a malformed id makes no segment."""
    assert _segments(page, [_watched(0, member_count=1, **wrong)]) == []


@pytest.mark.parametrize(
    ("events", "used_by", "expires"),
    [
        ([{"used_by": 0, "expires_at": "2027-01-20T00:00:00Z"}], 0, True),
        ([{"used_by": 0, "expires_at": "2027-01-20T00:00:00Z"}, {}], 0, True),
        ([{"used_by": 0, "expires_at": "2027-01-20T00:00:00Z"}, {"used_by": 2}], 2, False),
        ([{"used_by": 0}, {"status": "stopped"}], None, False),
    ],
)
def test_use_and_expiry_are_those_of_the_newest_event_that_says_it(page, events, used_by, expires):
    """A later event that says a segment is used ends its expiry, and a segment that is not live has none."""
    told = [_event(len(events) - place, **{"status": "live", **extra}) for place, extra in enumerate(events)]
    (row,) = _segments(page, told)
    assert (row["usedBy"], row["expires"] is not None) == (used_by, expires)


def test_other_events_are_left_out(page):
    """Events of other assets, of journeys, and of malformed addresses make no segment."""
    uris = ["s3://bucket/file", URI.replace("segments", "journeys"), "cij://x/segments/7", None]
    assert _segments(page, [_event(0, uri=uri, member_count=1) for uri in uris]) == []


def test_a_failure_counts_until_a_later_run_succeeds(page):
    """A failed task of an older run than the newest success matters no more; what has not ended always does."""
    code = "m.current(given, new Map([['d\\nt', 20]])).map((task) => task.runAfter)"
    tasks = [{"dag": "d", "task": "t", "state": state, "runAfter": due} for state, due in _STATES]
    assert _call(page, "history.js", code, tasks) == [20, 30, 5]


_STATES = [("failed", 10), ("failed", 20), ("failed", 30), ("deferred", 5)]

ROWS = [
    {"name": "=Alpha", "id": "a", "dag": "one", "dags": ["one"], "task": "t", "tags": ["x"], "category": "live"}
    | {"members": 5, "changeShare": 0.2, "evaluated": NOW - DAY, "connection": "c", "error": None}
    | {"usedBy": 0, "expires": NOW + 31 * DAY},
    {
        "name": "Beta, Inc",
        "id": "b",
        "dag": "two",
        "dags": ["two", "one"],
        "task": "t",
        "tags": [],
        "category": "failed",
    }
    | {"members": None, "changeShare": None, "evaluated": None, "connection": "d", "error": 'say "no"\nnow'}
    | {"usedBy": None, "expires": None},
    {"name": "beta 10", "id": "c", "dag": "two", "dags": ["two"], "task": "t", "tags": ["x"], "category": "stale"}
    | {"members": 7, "changeShare": -0.05, "evaluated": NOW - 9 * DAY, "connection": "c", "error": None}
    | {"usedBy": 0, "expires": NOW + 29 * DAY},
]


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({}, "abc"),
        ({"q": "BETA two"}, "bc"),
        ({"state": "failed"}, "b"),
        ({"tag": "x", "connection": "c"}, "ac"),
        ({"dag": "one"}, "ab"),
        ({"changed": "4"}, "ac"),
        ({"changed": "10"}, "a"),
        ({"changed": "no number"}, "abc"),
        ({"older": "8"}, "bc"),
        ({"use": "unused"}, "ac"),
        ({"use": "expiring"}, "c"),
    ],
)
def test_filters_leave_what_is_asked_for(page, chosen, ids):
    """Each filter leaves the rows that are like that; one that was never evaluated is older than anything."""
    code = "m.filter(given.rows, { ...m.DEFAULTS, ...given.chosen }, given.now).map((row) => row.id).join('')"
    assert _call(page, "table.js", code, {"rows": ROWS, "chosen": chosen, "now": NOW}) == ids


@pytest.mark.parametrize(
    ("order", "ids"),
    [("name", "acb"), ("-members", "cab"), ("members", "acb"), ("category", "bca"), ("nothing", "acb")],
)
def test_unknown_values_come_last_in_either_order(page, order, ids):
    """Rows are sorted by numbers or by natural text, and what is not known comes last."""
    code = "m.sort(given.rows, given.order).map((row) => row.id).join('')"
    assert _call(page, "table.js", code, {"rows": ROWS, "order": order}) == ids


def test_a_csv_file_is_read_back_as_it_was_and_is_no_formula(page):
    """Commas, quotes and line ends are quoted, and a text that a spreadsheet would compute gets a quote in front."""
    text = _call(page, "table.js", "m.csv(given)", ROWS)
    assert text.startswith("segment,segment_id,connection,dag,task,")
    assert "\r\n'=Alpha,a,c," in text
    assert '"Beta, Inc",b,' in text
    assert '"say ""no""\nnow"' in text
    assert "2027-01-14T08:00:00.000Z" in text


def test_an_address_holds_what_is_chosen_and_keeps_the_rest(page):
    """What is as usual is left out of the address; parameters of others stay."""
    code = """(() => { const p = new URLSearchParams("q=vip&other=1&sort=name");
      return [m.readState(p).q, m.writeState({ ...m.readState(p), q: "", tag: "a b" }, p).toString()] })()"""
    assert _call(page, "table.js", code) == ["vip", "other=1&sort=name&tag=a+b"]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m.count(1234567)", "1,234,567"),
        ("m.count(null)", ""),
        ("m.change(-1234)", "\u22121,234"),
        ("m.change(0)", "±0"),
        ("m.percent(0.0249)", "+2.5%"),
        ("m.percent(-0.25)", "\u221225%"),
        ("m.duration(59.4)", "59 s"),
        ("m.duration(61)", "1 min 1 s"),
        ("m.duration(7500)", "2 h 5 min"),
        ("m.duration(180000)", "2 d 2 h"),
        ("m.ago(0, 59e3)", "just now"),
        ("m.ago(0, 3600e3 * 47)", "47 hours ago"),
        ("m.ago(0, 86400e3 * 3)", "3 days ago"),
        ("m.ago(3600e3, 0)", "in 1 hour"),
    ],
)
def test_numbers_and_times_read_well(page, expression, text):
    """Counts have thousands separators, changes a sign, durations their two largest units."""
    assert _call(page, "format.js", expression) == text
