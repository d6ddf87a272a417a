"""What uses a segment and when it expires, read from a scripted server: whatever is missing claims nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_cij.api.segments.usages import use_of
from airflow_provider_cij.api.timestamps import format_utc
from airflow_provider_cij.dataverse.client import Clock
from airflow_provider_cij.errors import CijServerError
from tests.scripted import Answer
from tests.scripted_client import run_client

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"
COUNT, LAST = "msdynmkt_publishedjourneycount", "msdynmkt_lastusedinjourney"
NOW = datetime.now(UTC)


def _ago(days: float) -> str:
    return format_utc(NOW - timedelta(days=days))


UNUSED = {COUNT: 0, LAST: _ago(100), "createdon": _ago(300)}
EXPIRY = format_utc(NOW + timedelta(days=20))
JOURNEY = {"_msdynmkt_journeyid_value": "journey"}
NOBODY = Answer(200, {"value": []})


def _use(server, row: dict | Answer, usages: Answer | None = None) -> dict:
    answers = [row if isinstance(row, Answer) else Answer(200, row), *([usages] if usages else [])]
    return run_client(server, *answers, work=lambda client: use_of(client, ID), clock=Clock())


@pytest.mark.parametrize(
    ("row", "usages", "expected"),
    [
        (UNUSED | {COUNT: 3}, None, {"used_by": 3}),
        (UNUSED, NOBODY, {"used_by": 0, "expires_at": EXPIRY}),
        (UNUSED | {LAST: None, "createdon": _ago(100)}, NOBODY, {"used_by": 0, "expires_at": EXPIRY}),
        (UNUSED, Answer(200, {"value": [{"msdynmkt_dependententityid": "email"}]}), {"used_by": 1}),
        (UNUSED | {COUNT: None}, NOBODY, {"used_by": 0, "expires_at": EXPIRY}),
        (UNUSED | {COUNT: None}, Answer(200, {"value": [JOURNEY, JOURNEY]}), {"used_by": 1}),
        (UNUSED | {LAST: _ago(121)}, NOBODY, {"used_by": 0}),
        (UNUSED | {LAST: "soon"}, NOBODY, {"used_by": 0}),
        ({COUNT: 0, "createdon": _ago(100)}, NOBODY, {"used_by": 0}),
        ({"createdon": _ago(100)}, None, {}),
        (UNUSED, Answer(404), {}),
        (UNUSED, Answer(403), {}),
        (Answer(403), None, {}),
    ],
    ids=(
        *(
            "in use",
            "last used",
            "never used",
            "used by an e-mail",
            "not counted",
            "journey twice",
            "live for longer",
            "no moment",
            "no column",
        ),
        *("no count", "no table", "no privilege on the table", "no privilege on the row"),
    ),
)
def test_what_is_not_known_is_not_claimed(scripted, row, usages, expected):
    """A count and an end are claimed only where the organisation says what they are computed from."""
    assert _use(scripted, row, usages) == expected


def test_an_outage_is_no_lack(scripted):
    """An organisation that is down is an error, which the caller logs."""
    with pytest.raises(CijServerError):
        run_client(scripted, *[Answer(503)] * 5, work=lambda client: use_of(client, ID))
