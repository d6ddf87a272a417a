"""Fixtures for the tests of the sandbox."""

import uuid

import pytest
from hypothesis import settings

from .model import made_up
from .organisation import Organisation, running_organisation

settings.register_profile("sandbox", deadline=None, max_examples=50)
settings.load_profile("sandbox")


@pytest.fixture(scope="session")
def moving():
    """Provide a client of a separate sandbox, whose clock the tests advance."""
    with running_organisation("--contacts", "300", "--leads", "100", "--compute-seconds", "0.3") as organisation:
        yield organisation


@pytest.fixture(scope="session")
def org(cij_sandbox):
    """Provide an authenticated client of the shared sandbox."""
    organisation = Organisation(cij_sandbox)
    yield organisation
    organisation.close()


@pytest.fixture(scope="module")
def people(org):
    """Provide contacts of every combination, set apart by their job title."""
    mark = f"model {uuid.uuid4()}"
    rows = made_up(mark)
    for row in rows:
        org.post("contacts", row)
    yield mark, rows
    for row in rows:
        org.web.delete(f"contacts({row['contactid']})")
