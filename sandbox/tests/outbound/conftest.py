"""Organisations for the tests of outbound marketing."""

import pytest

from ..organisation import running_organisation


@pytest.fixture(scope="session")
def quick():
    """Provide an organisation in which tasks are done by the next request."""
    with running_organisation("--contacts", "200", "--compute-seconds", "0") as organisation:
        yield organisation


@pytest.fixture(scope="session")
def slow():
    """Provide an organisation in which no task is ever done."""
    with running_organisation("--contacts", "20", "--compute-seconds", "3600") as organisation:
        yield organisation
