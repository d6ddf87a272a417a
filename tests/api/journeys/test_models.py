"""What is read of a journey's row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_cij.api.journeys.models import Journey

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"


@pytest.mark.parametrize(
    ("definition", "audience"),
    [
        ({"trigger": {"audience": f"{{{ID.upper()}}}"}}, ID),
        ({"trigger": {"audience": "everybody"}}, None),
        ({"trigger": None}, None),
        ([], None),
    ],
)
def test_the_audience_is_the_segment_that_the_definition_names(definition: Any, audience):
    """The audience is an id in any spelling; a definition that names none, or was not read, has none."""
    assert Journey(ID, "Welcome", 2, json.dumps(definition)).audience == audience
    assert Journey(ID, "Welcome", 2).audience is None
