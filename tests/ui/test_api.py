"""How the pages read Airflow's REST API, in a real Chromium, from a server that answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from airflow_provider_cij.ui.plugin import STATIC
from tests.ui.browsers import chromium

Answer = Callable[[dict[str, str]], tuple[int, dict[str, Any]]]


class Api(ThreadingHTTPServer):
    """Serves the modules, and answers below ``/api/v2/`` as the test says."""

    answers: dict[str, Answer]
    asked: list[tuple[str, dict[str, str]]]


class _Handler(SimpleHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        """Answer."""
        address = urlsplit(self.path)
        path = address.path.removeprefix("/api/v2/")
        if path == address.path:
            super().do_GET()
            return
        parameters = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.server.asked.append((path, parameters))
        status, body = self.server.answers[path](parameters)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Api, Page]]:
    """Open an empty page beside the modules."""
    with Api(("127.0.0.1", 0), partial(_Handler, directory=str(STATIC))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with chromium() as browser:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_address[1]}/icon.svg")
                page.evaluate("Object.defineProperty(document, 'baseURI', { value: location.origin + '/' })")
                yield server, page
        finally:
            server.shutdown()


def _read(served: tuple[Api, Page], **answers: Answer) -> dict[str, Any]:
    """Return the events of the last weeks."""
    server, page = served
    server.answers = {name.replace("_", "/"): answer for name, answer in answers.items()}
    server.asked = []
    return dict(page.evaluate("async () => (await import('/api.js')).eventsSince(new Date(0))"))


def _events(count: int, broken: set[int] = frozenset(), uri: str = "cij://c/segments/1") -> Answer:  # type: ignore[assignment]
    """Answer with a page of events; one with a broken event is an error of the server."""

    def answer(parameters: dict[str, str]) -> tuple[int, dict[str, Any]]:
        offset = int(parameters["offset"])
        ids = range(offset, min(offset + int(parameters["limit"]), count))
        if broken & set(ids):
            return 500, {"detail": "Internal Server Error"}
        rows = [{"id": one, "uri": uri, "timestamp": "2026-11-27T00:00:00Z", "extra": {}} for one in ids]
        return 200, {"asset_events": rows, "total_entries": count}

    return answer


def _assets(*names: str) -> Answer:
    rows = [{"name": name, "watchers": [{"name": "w"}]} for name in names] + [{"name": "other", "watchers": []}]
    return lambda _: (200, {"assets": rows, "total_entries": len(rows)})


@pytest.mark.parametrize("broken", [set(), {0}, {37}, {99, 100}, {249}, set(range(100)), set(range(150))])
def test_an_event_that_airflow_fails_on_hides_no_other(served, broken):
    """An event whose DAG run has not begun is an error of Airflow's whole page: the others are shown all the same."""
    found = _read(served, assets_events=_events(250, broken), assets=_assets())
    assert {event["id"] for event in found["events"]} == set(range(250)) - broken
    assert not found["cut"]


def test_an_airflow_that_fails_altogether_is_an_error_after_some_requests(served):
    """Where each request fails the page says so, and does not ask for ever."""
    with pytest.raises(Exception, match="HTTP 500"):
        _read(served, assets_events=_events(10**6, set(range(10**6))), assets=_assets())
    assert len(served[0].asked) < 450


def test_events_of_watchers_are_asked_for_by_the_names_of_watched_assets(served):
    """Forty assets go with a request, those of segments and names that Airflow would take for two apart."""
    names = [f"watched {number}" for number in range(50)]
    _read(served, assets_events=_events(3), assets=_assets("cij://c/segments/2", "a|b", *names))
    asked = [parameters["name_prefix_pattern"] for path, parameters in served[0].asked if path == "assets/events"]
    assert sorted(asked, key=len) == ["cij://", "|".join(names[40:]), "|".join(names[:40])]


def test_a_user_who_may_not_list_assets_sees_the_other_events(served):
    """Without the permission for assets' list the events of segments' own assets are shown."""
    found = _read(served, assets_events=_events(3), assets=lambda _: (403, {"detail": "Forbidden"}))
    assert len(found["events"]) == 3
