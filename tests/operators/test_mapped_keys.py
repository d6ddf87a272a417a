"""Keys of mapped tasks, and rendered switches of all operators."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG, task, task_group

from airflow_provider_cij._arguments import one_of, switch
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.operators.outbound import CijOutboundCreateJourneyOperator, CijOutboundCreateSegmentOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
from tests.dags import run_dag

CREATES = [
    (CijCreateSegmentOperator, {"query": "PROFILE(contact)"}, "display_name"),
    (CijOutboundCreateSegmentOperator, {}, "display_name"),
    (CijOutboundCreateJourneyOperator, {"workflow": "[]"}, "name"),
]


@pytest.mark.parametrize(("operator", "arguments", "name"), CREATES)
def test_a_mapped_create_without_keys_is_refused_while_parsing(operator, arguments, name):
    """A mapped create without a key for each entry is refused while the DAG is parsed."""
    with DAG("keys", schedule=None):
        with pytest.raises(CijInputError, match="has no key"):
            operator.partial(task_id="a", **arguments).expand(**{name: ["NL", "DE"]})
        with pytest.raises(CijInputError, match="has no key"):
            operator.partial(task_id="b", **arguments).expand_kwargs([{name: "NL"}])
        with pytest.raises(CijInputError, match="one key"):
            operator.partial(task_id="c", key="x", **arguments).expand(**{name: ["NL", "DE"]})
        with pytest.raises(CijInputError, match="one key"):
            operator.partial(task_id="e", key="{{ dag.dag_id }}-n", **arguments).expand(**{name: ["NL", "DE"]})
        with pytest.raises(CijInputError, match="for two of its entries"):
            operator.partial(task_id="f", **arguments).expand_kwargs(
                [{name: "NL", "key": "n"}, {name: "DE", "key": "n"}]
            )
        with pytest.raises(CijInputError, match="map index in a key"):
            operator.partial(task_id="g", **arguments).expand_kwargs([{name: "NL", "key": "n-{{ ti.map_index }}"}])
        made = operator.partial(task_id="d", **arguments).expand_kwargs([{name: "NL", "key": "nl"}])
        assert made.operator_class is operator


def test_a_create_in_a_mapped_group_without_a_key_is_refused():
    """A create without a key in a mapped task group is refused, for it has a map index too."""

    @task_group
    def countries(country):
        CijCreateSegmentOperator(task_id="create", display_name=country, query="PROFILE(contact)")

    with DAG("keys", schedule=None), pytest.raises(CijInputError, match="has no key"):
        countries.expand(country=["NL", "DE"])


@pytest.mark.parametrize("key", ["newsletter", "n-{{ ti.map_index }}"])
def test_a_create_in_a_mapped_group_with_one_key_is_refused(key):
    """A create in a mapped task group with one constant key is refused, for all entries would share a row."""

    @task_group
    def countries(country):
        CijCreateSegmentOperator(task_id="create", key=key, display_name=country, query="PROFILE(contact)")

    with DAG("keys", schedule=None), pytest.raises(CijInputError, match="has the one key"):
        countries.expand(country=["NL", "DE"])


@pytest.mark.parametrize("mapped", ["expand_kwargs", "group"])
def test_a_mapped_create_without_keys_at_run_time_fails(scripted, monkeypatch, capfd, mapped):
    """A create mapped over another task's result without keys fails before its first request."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    with DAG(f"keyless_{mapped}", schedule=None) as dag:

        @task
        def entries():
            return [{"display_name": "NL", "key": None}, {"display_name": "DE", "key": None}]

        @task
        def keys():
            return [None, None]

        @task_group
        def country(key):
            CijCreateSegmentOperator(task_id="create", display_name="X", groups=["in"], key=key)

        if mapped == "group":
            country.expand(key=keys())
        else:
            CijCreateSegmentOperator.partial(task_id="create", groups=["in"]).expand_kwargs(entries())
    states = run_dag(dag).states
    assert sorted(states.values()) == ["failed", "failed", "success"]
    message = capfd.readouterr().out
    assert "has no key: the map index is no name" in message
    assert '.expand_kwargs([{"key": "newsletter-nl"' in message
    assert scripted.requests == scripted.logins == []


@pytest.mark.parametrize(("text", "meant"), [("True", True), (" false ", False), (True, True)])
def test_a_rendered_switch_is_read_as_a_boolean(text, meant):
    """A switch given as a template is read as a boolean."""
    assert switch("publish", text) is meant


@pytest.mark.parametrize("text", ["", "no", "1", 1, None, ["True"]])
def test_an_invalid_switch_is_refused(text):
    """A text that is neither true nor false is refused as a switch."""
    with pytest.raises(CijInputError, match="publish is"):
        switch("publish", text)
    with pytest.raises(CijInputError, match="table is"):
        one_of("table", text, "contact", "lead")
