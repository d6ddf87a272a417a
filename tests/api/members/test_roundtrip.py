"""Members from every kind of source into a group, and from the group into every kind of file."""

from __future__ import annotations

import csv
import json
import sqlite3
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.files import reading_text, writing
from airflow_provider_cij.sources import FromFile, FromSql, FromValues

PEOPLE = [str(uuid.UUID(int=number << 100 | number)) for number in range(1, 60)]
SPELLINGS = (
    str,
    str.upper,
    lambda text: f"{{{text}}}",
    lambda text: text.replace("-", ""),
    lambda text: f" {text} ",
)
row = st.one_of(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from(SPELLINGS)).map(lambda drawn: drawn[1](drawn[0])),
    st.sampled_from(["", "n/a", "ada@contoso.test", "00000000-0000-0000-0000"]),
)


def _csv(path: Path, rows: list[str]) -> FromFile:
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "contactid"], *(['O\'Brien, "Ada"\n', value] for value in rows)])
    return FromFile(str(path.with_suffix(".csv")))


def _jsonl(path: Path, rows: list[str]) -> FromFile:
    path.with_suffix(".jsonl").write_text("".join(json.dumps({"id": value}) + "\n" for value in rows))
    return FromFile(str(path.with_suffix(".jsonl")))


def _parquet(path: Path, rows: list[str]) -> FromFile:
    with writing(str(path.with_suffix(".parquet")), ("contactid",)) as file:
        file.write(rows)
    return FromFile(f"file://{path.with_suffix('.parquet')}")


def _sql(path: Path, rows: list[str]) -> FromSql:
    database = sqlite3.connect(path.with_suffix(".db"))
    with database:
        database.execute("DROP TABLE IF EXISTS people")
        database.execute("CREATE TABLE people (id TEXT)")
        database.executemany("INSERT INTO people VALUES (?)", [(value,) for value in rows])
    database.close()
    return FromSql("SELECT id FROM people", "people_database")


def _values(path: Path, rows: list[str]) -> FromValues:
    return FromValues(rows)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weeks=st.lists(st.tuples(st.sampled_from([_csv, _jsonl, _parquet, _sql, _values]), st.lists(row)), max_size=3),
    out=st.sampled_from(["out.csv", "out.parquet", "out.csv.gz"]),
)
def test_mirrored_and_exported_members_equal_the_source(organisation, tmp_path, monkeypatch, weeks, out):
    """Lists from changing sources, mirrored and exported, hold the members that plain Python sets hold."""
    path = tmp_path / "people"
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DATABASE", json.dumps({"conn_type": "sqlite", "host": f"{path}.db"}))
    spec = SegmentSpec(f"test.{uuid.uuid4()}", "Test", groups=(MemberGroup("in"),))

    async def main(cij):
        await cij.segments.create(spec)
        group = await cij.segments.group(await cij.segments.get(spec.segment_id), "in")
        members: set[str] = set()
        for make, rows in weeks:
            stripped = map(str.strip, rows)
            good = [str(uuid.UUID(value)) for value in stripped if len(value.replace("-", "").strip("{}")) == 32]
            if rows and not good:
                continue  # such a list is refused
            intake = await read_member_ids(make(path, rows).chunks(cij.dataverse))
            assert (intake.read, intake.invalid) == (len(rows), len(rows) - len(good))
            assert intake.duplicate == len(good) - len(set(good))
            plan = await cij.members.plan(spec.segment_id, [group], intake.ids)
            assert (len(plan.missing), plan.removals) == (len(set(good) - members), len(members - set(good)))
            await cij.members.mirror(spec.segment_id, plan)
            members = set(good)
        target = str(tmp_path / out)
        with writing(target, ("contactid",)) as file:
            async for page in cij.members.of_group(spec.segment_id, group.group_id):
                file.write(page)
        if out.endswith(".parquet"):
            from pyarrow import parquet

            written = parquet.read_table(target).column("contactid").to_pylist()
        else:
            with reading_text(target, "utf-8") as text:
                header, *written = text.read().split()
            assert header == "contactid"
        assert sorted(written) == sorted(members)

    organisation(main)


def test_a_failed_export_keeps_the_old_file(tmp_path):
    """An export that fails half-way keeps the old file and leaves no other."""
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), writing(str(target), ("contactid",)) as file:
        file.write(PEOPLE)
        raise RuntimeError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "old"
