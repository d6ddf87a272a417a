"""The sources that stand in a DAG file: their serialized form, and what ``as_dict`` returns."""

from __future__ import annotations

import json

from airflow.sdk import DAG

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.sources import FromFile, FromSql
from tests.task_kinds import ID


def test_the_serialized_form_of_sources_is_stable_and_holds_no_values():
    """A serialized DAG with mapped sources is the same at each parse, and holds no query and no parameters."""

    def serialized():
        with DAG("serialized", schedule=None) as dag:
            CijAddSegmentMembersOperator.partial(task_id="t", segment_id=ID, group="G").expand(
                members=[FromSql("SELECT 'secret'", "db", parameters={"a": "secret"}), FromFile("x.csv")]
            )
            CijAddSegmentMembersOperator(
                task_id="u", segment_id=ID, group="G", members=FromSql("SELECT 1", "db", parameters=["secret"])
            )
        return json.dumps(DagSerialization.to_dict(dag), default=str, sort_keys=True)

    first = serialized()
    assert first == serialized()
    assert "secret" not in first
    assert "FromFile('x.csv', column=None)" in first


def test_a_source_as_plain_json_is_the_same_source():
    """What ``as_dict`` of a source returns is read as the same source."""
    sql = FromSql("SELECT id FROM t WHERE a = %(a)s", "db", parameters={"a": 1})
    file = FromFile("x.csv", 0, delimiter=";", encoding="cp1252")
    assert sql.as_dict() == {"sql": sql.sql, "conn_id": "db", "parameters": {"a": 1}}
    assert file.as_dict() == {"file": "x.csv", "column": 0, "delimiter": ";", "encoding": "cp1252"}
    with DAG("plain", schedule=None):
        for number, source in enumerate((sql, file)):
            made = CijAddSegmentMembersOperator(
                task_id=f"t{number}", segment_id=ID, group="G", members=json.loads(json.dumps(source.as_dict()))
            )
            assert type(made.members) is type(source)
            assert vars(made.members) == vars(source)
