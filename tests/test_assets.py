"""Assets of segments and journeys: named without a connection, the same at parse and at run."""

from __future__ import annotations

import pytest
from airflow import __version__
from airflow.sdk import Asset
from packaging.version import Version

from airflow_provider_cij.api.segments.spec import id_of
from airflow_provider_cij.assets import journey_asset, segment_asset
from airflow_provider_cij.errors import CijInputError

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"


@pytest.mark.parametrize("given", [ID, ID.upper(), f"{{{ID}}}", ID.replace("-", "")])
def test_an_id_in_any_spelling_is_one_asset(given):
    """A segment's id in any spelling gives one asset, whose name is its URI."""
    asset = segment_asset(given, "crm")
    assert asset.name == asset.uri == f"cij://crm/segments/{ID}"
    assert journey_asset(given).uri == f"cij://cij_default/journeys/{ID}"


def test_a_key_gives_the_asset_of_the_segment_that_it_creates():
    """A segment's key gives the asset of the segment that a create with that key makes."""
    assert segment_asset("my_dag.create").uri == f"cij://cij_default/segments/{id_of('my_dag.create')}"


@pytest.mark.parametrize("given", ["", "  ", None, "{{ params.key }}", "name:VIP"])
def test_what_no_key_is_is_refused(given):
    """An empty key, a template and a display name are refused while the DAG file is parsed."""
    with pytest.raises(CijInputError):
        segment_asset(given)


@pytest.mark.parametrize(("journey_id", "conn_id"), [("Newsletter", "crm"), (ID, "{{ var.value.c }}"), (ID, "a/b")])
def test_a_journey_needs_its_id_and_a_connection(journey_id, conn_id):
    """A journey's name, and what is no id of a connection, are refused."""
    with pytest.raises(CijInputError):
        journey_asset(journey_id, conn_id)


@pytest.mark.parametrize(
    "uri",
    [
        "cij://crm",
        "cij:///segments/" + ID,
        "cij://crm/segments/VIP",
        f"cij://crm/lists/{ID}",
        pytest.param(
            f"cij://a@b/segments/{ID}",
            marks=pytest.mark.skipif(
                Version(__version__) < Version("3.1.8"), reason="this Airflow drops what is before @"
            ),
        ),
    ],
)
def test_a_uri_of_neither_is_refused_while_the_dag_file_is_parsed(uri):
    """A URI of the scheme cij that names neither a segment nor a journey is refused."""
    with pytest.raises(ValueError, match=r"segment_asset\(\)"):
        Asset(uri)


def test_a_uri_is_normalized():
    """The id in a URI is read in either case."""
    assert Asset(f"cij://crm/segments/{ID.upper()}").uri == segment_asset(ID, "crm").uri
