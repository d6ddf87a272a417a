"""The CIJ page and the tab on a run, in a real Chromium, with the history of real runs of mapped tasks."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__
from airflow.sdk import Connection
from cij_sandbox.testing import Sandbox, running_sandbox
from packaging.version import Version
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.hooks.cij import settings_of
from demo import weekly
from demo.stack import Stack
from tests.ui.browsers import chromium, executable

HERE = Path(__file__).parent
# Two cores are shared with a whole Airflow.
expect.set_options(timeout=30_000)
BASE_PATH = "/data/airflow"
pytestmark = pytest.mark.skipif(Version(__version__) < Version("3.1.3"), reason="it does not show the page")
_needs_every_click = pytest.mark.skipif(
    Version(__version__) < Version("3.1.8"), reason="some clicks are lost in its UI"
)


@dataclass
class Pages:
    """An Airflow with history, and the pages that were opened in it.

    :param airflow: the running Airflow
    :param browser: the running browser
    :param runs: the runs of ``cij_page``: the first succeeded, one task of the second failed
    """

    airflow: Stack
    browser: Browser
    runs: list[str]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: str, user: str = "admin", **options: Any) -> Page:
        """Open a page of Airflow as a user, and record the browser's errors and what is requested."""
        context = self.browser.new_context(viewport={"width": 1600, "height": 950}, **options)
        login = {"username": user, "password": self.airflow.password_of(user)}
        token = context.request.post(f"{self.airflow.url}/auth/token", data=login).json()["access_token"]
        context.add_cookies([{"name": "_token", "value": token, "url": self.airflow.url}])
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        page.goto(f"{self.airflow.url}/{path}")
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # Airflow fails on an event whose DAG run has not begun, and the page reads around it.
        if message.type == "error" and "status of 500" not in message.text:
            self.complaints.append(message.text)

    def open_segments(self, parameters: str = "", user: str = "admin", **options: Any) -> Page:
        """Open the page, and wait for its table."""
        page = self.open(f"plugin/cij?{parameters}", user, **options)
        page.get_by_role("table", name="Segments").wait_for(timeout=30_000)
        return page


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox, where there is a browser."""
    executable()
    with running_sandbox("--contacts", "2000", "--compute-seconds", "0") as running:
        yield running


async def _organisation(connection_uri: str) -> tuple[list[str], str]:
    """Create the segments of the DAG; return contacts and a journey template."""
    async with DataverseClient(settings_of(Connection.from_uri(connection_uri, conn_id="page"))) as client:
        for name in ("Alpha", "Beta", "Gamma", "Delta"):
            await Cij.on(client).segments.create(SegmentSpec(f"page.{name}", name, groups=(MemberGroup("people"),)))
            await Cij.on(client).segments.publish(SegmentSpec(f"page.{name}", name).segment_id)
        rows = [row async for page in client.pages("contacts?$select=contactid") for row in page]
        found = await client.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
    return [row["contactid"] for row in rows], found["value"][0]["msdynmkt_journeytemplateid"]


async def _publish_delta(connection_uri: str) -> None:
    """Evaluate the segment that only a watcher observes."""
    async with DataverseClient(settings_of(Connection.from_uri(connection_uri, conn_id="page"))) as client:
        await Cij.on(client).segments.publish(SegmentSpec("page.Delta", "Delta").segment_id)


@pytest.fixture(scope="module")
def history(sandbox, tmp_path_factory) -> Iterator[Pages]:
    """Run Airflow and a watcher, seed the demo's weeks, and run mapped tasks twice: one of them fails."""
    folder = tmp_path_factory.mktemp("pages")
    people, template = asyncio.run(_organisation(sandbox.airflow_conn_uri))
    weekly.prepare(sandbox.airflow_conn_uri, folder / "weekly")
    dags = folder / "dags"
    dags.mkdir()
    weekly.write_dag(folder / "weekly", dags)
    (dags / "cij_page.py").write_text((HERE / "dags" / "cij_page.py").read_text())
    with Stack(folder / "airflow", dags, base_path=BASE_PATH) as airflow, chromium() as browser:
        pages = Pages(airflow, browser, [])
        airflow.add_connection("cij_default", f"{sandbox.airflow_conn_uri}&max_poll_seconds=0.5")
        empty = pages.open("plugin/cij")
        expect(empty.get_by_role("heading", name="No segment was refreshed yet")).to_be_visible(timeout=30_000)
        _run_all(pages, people, template, folder / "weekly", dags, sandbox.base_url)
        give_up = time.monotonic() + 120
        # Until the watcher has begun, an evaluation is no news to it.
        while not _has_events(airflow, "delta refreshed"):
            assert time.monotonic() < give_up
            with ThreadPoolExecutor() as threads:
                threads.submit(asyncio.run, _publish_delta(sandbox.airflow_conn_uri)).result()
            time.sleep(1)
        yield pages


def _has_events(airflow: Stack, name: str) -> bool:
    (asset,) = airflow.rest("GET", "assets", params={"name_pattern": name})["assets"]
    return bool((asset["last_asset_event"] or {}).get("id"))


def _run_all(pages: Pages, people: list[str], template: str, lists_of_weeks: Path, dags: Path, url: str) -> None:
    """Seed the demo's weeks, and run the DAGs."""
    airflow = pages.airflow
    airflow.run(sys.executable, "-m", "demo.history", str(lists_of_weeks), str(dags), url)
    for dag_id in ("cij_page", "cij_page_waits"):
        airflow.wait_for_dag(dag_id)
    for sizes in ((40, 30, 20), (44, 30, 5)):
        members = [people[:size] for size in sizes]
        lists = dict(zip(("Alpha", "Beta", "Gamma"), members, strict=True))
        pages.runs.append(airflow.trigger("cij_page", {"lists": lists}))
        for _ in airflow.watch("cij_page", pages.runs[-1]):
            pass
    waiting = airflow.trigger("cij_page_waits", {"template_id": template})
    for task in airflow.watch("cij_page_waits", waiting):
        states = {one["task_id"]: one["state"] for one in airflow.tasks("cij_page_waits", waiting)}
        if states == {"wait": "deferred", "create_journey": "success"}:
            break
        assert task["state"] != "failed"


@pytest.fixture
def pages(history) -> Iterator[Pages]:
    """Give the pages, and check afterwards that the browser had no error to report."""
    history.complaints.clear()
    history.requests.clear()
    yield history
    for context in history.browser.contexts:
        context.close()
    assert history.complaints == []


def _row(page: Page, name: str) -> dict[str, str]:
    """Return a row of the table by its columns' names."""
    heads = [head.strip(" ▲▼\n") for head in page.get_by_role("columnheader").all_inner_texts()]
    row = page.locator("tbody tr").filter(has=page.locator("th", has_text=re.compile(rf"\W{name}$")))
    expect(row).to_have_count(1)
    cells = [cell.strip() for cell in row.locator("th, td").all_inner_texts()]
    return dict(zip(heads, cells, strict=True))


def _expect_names(page: Page, *names: str) -> None:
    """Wait until the table shows these segments."""
    expect(page.locator("tbody th")).to_have_text([re.compile(rf"\W{name}$") for name in names])


@pytest.mark.parametrize("user", ["admin", "viewer"])
def test_each_segment_has_a_row_with_its_numbers(pages, sandbox, user):
    """An admin and a reader see each segment with counts, changes, state, error and links, from real runs."""
    page = pages.open_segments("dag=cij_page&sort=name", user)
    expect(page.get_by_text("3 of 63 segments")).to_be_visible()
    expect(page.get_by_text("are not in the list").first).to_be_visible()
    alpha = _row(page, "Alpha")
    assert alpha["Status"].split("\n")[0] == "Live"
    assert (alpha["Members"], alpha["Since last run"].split()) == ("44", ["+4", "+10%"])
    assert (alpha["Read"], alpha["Added"], alpha["Removed"], alpha["Last error"]) == ("44", "4", "0", "")
    assert alpha["Evaluated"].endswith("just now") or alpha["Evaluated"].endswith("ago")
    gamma = _row(page, "Gamma")
    assert (gamma["Status"].split("\n")[0], gamma["Members"]) == ("Failed", "20")
    assert "15 of 20 members (75%) are not in the list" in gamma["Last error"]
    link = page.get_by_role("rowheader", name="Alpha").get_by_role("link")
    assert str(link.get_attribute("href")).startswith(f"{sandbox.base_url}/main.aspx?etn=msdynmkt_segment")
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert page.get_by_role("img", name="Members of the last 2 evaluations: 40, 44").is_visible()
    page.get_by_role("link", name="Log of segment.fill for Gamma").click()
    expect(page.get_by_text("are not in the list and would be removed").first).to_be_visible()
    assert page.url.startswith(f"{pages.airflow.url}/dags/cij_page/runs/")


def test_the_page_reads_airflow_alone_and_a_hundred_events_a_page(pages):
    """Sixty segments of eleven weeks take some twenty requests, all to Airflow's REST API below the base path."""
    pages.open_segments()
    origin = pages.airflow.url.removesuffix(BASE_PATH)
    assert not [line for line in pages.requests if not line.startswith((f"GET {origin}/", f"GET blob:{origin}/"))]
    sent = [line.removeprefix(f"GET {pages.airflow.url}") for line in pages.requests]
    ours = [line for line in sent if re.match(r"/api/v2/(assets/events|dags\?|dags/)", line) and "cij" in line]
    events = [line for line in ours if "/assets/events?" in line]
    assert all("limit=100&" in line for line in events)
    assert 13 <= len(events) <= 15
    assert len(ours) <= len(events) + 10


def test_filters_and_order_are_in_the_address(pages):
    """What is chosen stands in the address, and an address shows what was chosen."""
    page = pages.open_segments()
    page.get_by_label("Tag").select_option("newsletters")
    page.get_by_label("Search").fill("an")
    page.get_by_role("button", name="Members", exact=True).click()
    expect(page.get_by_role("columnheader", name="Members")).to_have_attribute("aria-sort", "descending")
    expect(page).to_have_url(re.compile(r"tag=newsletters&q=an&sort=-members"))
    names = [text.replace("\n", "") for text in page.locator("tbody th").all_inner_texts()]
    members = [int(cell.replace(",", "")) for cell in page.locator("tbody td b").all_inner_texts()]
    assert 1 < len(members) < 10
    assert members == sorted(members, reverse=True)
    page.reload()
    expect(page.locator("tbody th")).to_have_text(names)
    assert page.get_by_label("Search").input_value() == "an"
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_text("63 segments", exact=True)).to_be_visible()


@_needs_every_click
def test_failed_and_changed_segments_are_found(pages):
    """The filters for failed, much changed and long not evaluated segments leave those alone."""
    page = pages.open_segments()
    page.get_by_label("Failed").check()
    _expect_names(page, "Gamma")
    page.get_by_label("Failed").uncheck()
    page.get_by_role("combobox", name="DAG").select_option("cij_page")
    page.get_by_label("Changed more than").fill("9")
    _expect_names(page, "Alpha")
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Older than").fill("14")
    _expect_names(page, "Abandoned carts Finland")


def test_unused_segments_are_marked_and_found(pages):
    """A segment that nothing uses is marked, with a warning in the month before it expires; two filters leave them."""
    page = pages.open_segments("sort=name")
    page.get_by_role("combobox", name="Use").select_option("Unused")
    _expect_names(page, "Abandoned carts Finland", "Alpha", "Beta", "Bronze members Denmark", "Gamma", "Lapsed Austria")
    assert _row(page, "Abandoned carts Finland")["Status"].split("\n") == ["Stale", "expires in 11 days"]
    assert _row(page, "Beta")["Status"].split("\n") == ["Live", "unused, 119 days left"]
    expect(page.locator(".cij-warning")).to_have_text("expires in 11 days")
    page.get_by_role("combobox", name="Use").select_option("Expires in 30 days")
    _expect_names(page, "Abandoned carts Finland")
    expect(page).to_have_url(re.compile("use=expiring"))
    page.get_by_role("button", name="Members over time of Abandoned carts Finland").click()
    expect(page.get_by_text(re.compile("unused: expires in 11 days, on .*, unless a journey uses it"))).to_be_visible()


@pytest.mark.parametrize("user", ["admin", "viewer"])
def test_a_segment_that_only_a_watcher_observes_has_a_row(pages, user):
    """Events of a watcher are on an asset of any name: its segment has status, members and age, and no DAG."""
    page = pages.open_segments("q=Delta", user)
    delta = _row(page, "Delta")
    assert (delta["Status"].split("\n")[0], delta["Members"], delta["Last error"]) == ("Live", "0", "")
    assert delta["DAG and task"].split("\n") == ["delta refreshed", "watcher"]
    assert delta["Evaluated"].endswith("just now") or delta["Evaluated"].endswith("ago")


def test_the_csv_file_holds_what_the_table_shows(pages):
    """The download holds the rows that are shown, with plain numbers and times."""
    page = pages.open_segments("dag=cij_page&sort=name")
    expect(page.get_by_text("are not in the list").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [(row["segment"], row["members"], row["change"]) for row in rows] == [
        ("Alpha", "44", "4"),
        ("Beta", "30", "0"),
        ("Gamma", "20", "20"),
    ]
    assert datetime.fromisoformat(rows[0]["evaluated_at"]) <= datetime.now(UTC)
    assert "75%" in rows[2]["last_error"]


def test_what_waits_and_journeys_have_views_of_their_own(pages):
    """A deferred task stands with what it waits for and when it gives up; a journey with its audience."""
    page = pages.open_segments()
    page.get_by_role("tab", name="Waiting now 1").click()
    row = page.get_by_role("table", name="Waiting now").locator("tbody tr")
    expect(row).to_contain_text("Segment “Alpha”")
    waits = row.inner_text()
    assert "live" in waits
    assert "in 6 days" in waits or "in 7 days" in waits
    page.get_by_role("tab", name="Journeys 1").click()
    journey = page.get_by_role("table", name="Journeys").locator("tbody tr").inner_text()
    assert journey.split("\t")[:3] == ["Welcome", "Draft", "Alpha"]


def test_the_tab_on_a_run_says_what_its_tasks_did(pages):
    """The tab lists a run's tasks with counts, and why one failed; a reader sees it too."""
    page = pages.open(f"dags/cij_page/runs/{pages.runs[1]}", "viewer")
    page.get_by_role("link", name="CIJ tasks").click()
    table = page.get_by_role("table", name="Tasks of this run")
    table.wait_for()
    expect(page.locator(".cij-summary")).to_have_text(re.compile("6 tasks.*2 failed.*4 succeeded"))
    failed = table.get_by_role("row").filter(has_text="segment.fill").filter(has_text="Gamma").inner_text()
    assert "15 of 20 members (75%)" in failed
    assert "Nothing was changed" in failed
    refreshed = table.get_by_role("row").filter(has_text="segment.refresh").filter(has_text="Alpha").inner_text()
    assert "44" in refreshed
    assert "+4" in refreshed


@_needs_every_click
def test_the_keyboard_reaches_everything_and_keeps_its_place(pages):
    """Headers, tabs and details work by keyboard, and what is pressed keeps the focus."""
    page = pages.open_segments("dag=cij_page")
    page.get_by_role("button", name="Segment", exact=True).focus()
    page.keyboard.press("Enter")
    header = page.get_by_role("columnheader", name="Segment")
    expect(header).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Members over time of Alpha").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name=re.compile(r"Alpha: 40 members on .*, 44 on "))).to_be_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.get_by_role("tab", name="Segments").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Waiting now")).to_have_attribute("aria-selected", "true")
    assert str(page.evaluate("document.activeElement.id")) == "cij-tab-waiting"


@_needs_every_click
def test_everything_has_a_name_for_a_screen_reader(pages):
    """Each control, link and plot of the page has an accessible name."""
    page = pages.open_segments("dag=cij_page")
    page.get_by_role("button", name="Members over time of Alpha").click()
    main = page.locator("main.cij-page")
    for role in ("button", "link", "tab", "combobox", "searchbox", "spinbutton", "checkbox", "img", "table", "region"):
        every, unnamed = main.get_by_role(role), main.get_by_role(role, name=re.compile(r"^\s*$"))
        assert every.count() > 0, role
        assert unnamed.count() == 0, role


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark_mode(pages, scheme: Any):
    """Text and background differ enough in both of the UI's colour modes (WCAG AA: 4.5 to 1)."""
    page = pages.open_segments(color_scheme=scheme)
    assert page.evaluate("document.documentElement.classList.contains('dark')") == (scheme == "dark")
    for selector in (
        "main h1",
        "tbody th a",
        "tbody td b",
        "thead button",
        "tbody small",
        ".cij-count",
        ".cij-state.cij-live",
        ".cij-state.cij-failed",
    ):
        colours = page.evaluate(_COLOURS, selector)
        assert _contrast(*colours) >= 4.5, (selector, colours)


_COLOURS = """selector => {
  const element = document.querySelector(`.cij-page ${selector}`) ?? document.querySelector(selector);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  let behind = element;
  while (behind.parentElement && read(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  return [read(getComputedStyle(element).color), read(getComputedStyle(behind).backgroundColor)];
}"""


def _contrast(text: list[int], background: list[int]) -> float:
    """Return the contrast of two colours, as WCAG defines it."""

    def luminance(colour: list[int]) -> float:
        parts = [part / 255 for part in colour[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(text), luminance(background)))
    return (light + 0.05) / (dark + 0.05)
