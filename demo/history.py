"""Eleven weeks of the weekly programmes, written into Airflow's database as their runs would have left them.

Sixty segments in eleven weeks are 1,300 task instances: run one by one they take a laptop many minutes. So these runs
are seeded: the DAG runs, task instances and asset events are rows that nothing executed. Their numbers are computed
from the weekly lists, as the operators would have counted them. The twelfth week is run by Airflow, for real.

``python -m demo.history FOLDER DAGS URL`` needs the environment of the stack and its migrated database.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.models.asset import AssetActive, AssetEvent, AssetModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_provider_cij.assets import segment_asset
from demo.weekly import MOST_REMOVED, UNUSED, WEEKS, read_list

try:
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    _BUNDLE = {"bundle_name": "dags-folder"}
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag as BundleDagBag  # type: ignore[attr-defined,no-redef]
    from airflow.models.dagbag import sync_bag_to_db  # type: ignore[attr-defined,no-redef]

    _BUNDLE = {}

_MIRROR, _REFRESH = "segment.mirror_members", "segment.refresh_segment"


def main(folder: Path, dags: Path, url: str) -> None:
    """Write the weeks before this one.

    :param folder: the weekly lists
    :param dags: the folder with the DAG file
    :param url: the organisation, for links
    """
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(dags / "weekly_segments.py"), bundle_path=dags, **_BUNDLE)
    sync_bag_to_db(bag, "dags-folder", None)
    now = datetime.now(UTC)
    chance = random.Random(2026)  # noqa: S311  # the same seconds each time
    for programme, segments in json.loads((folder / "segments.json").read_text()).items():
        members: dict[str, set[str]] = {}
        for week in range(WEEKS - 1):
            began = now - timedelta(weeks=WEEKS - 1 - week, minutes=chance.randint(0, 50))
            _write(bag.dags[f"cij_weekly_{programme}"], week, began, segments, members, folder, url, chance)


def _write(
    dag: Any,
    week: int,
    began: datetime,
    segments: list[dict[str, str]],
    members: dict[str, set[str]],
    folder: Path,
    url: str,
    chance: random.Random,
) -> None:
    """Write one run: the members that it found become those that it left."""
    run = DagRun(
        dag.dag_id,
        f"seeded__week_{week + 1}",
        queued_at=began,
        logical_date=began,
        run_after=began,
        start_date=began,
        conf={"week": week},
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.CLI,
        data_interval=(began, began),
    )
    failed = False
    with create_session() as session:
        version = DagVersion.get_latest_version(dag.dag_id, session=session)
        run.created_dag_version_id = version.id
        listed = [one for one in segments if (folder / str(week) / f"{one['segment_id']}.csv").exists()]
        rows: list[TaskInstance] = [_task(dag, "lists", run, version, -1, began, 2.0, TaskInstanceState.SUCCESS)]
        for index, segment in enumerate(listed):
            row_id = segment["segment_id"]
            wanted, there = set(read_list(folder, week, row_id)), members.get(row_id, set())
            asset = _asset(session, row_id)
            seconds = round(2 + len(wanted) / 900 + chance.uniform(0, 2), 1)
            start = began + timedelta(seconds=3 + 0.5 * index)
            facts = {"segment_id": row_id, "name": segment["name"], "status": "live", "link": _link(url, row_id)}
            facts |= _use(segment["name"])
            broken = len(there - wanted) > MOST_REMOVED * len(there)
            failed |= broken
            states = ("failed", "upstream_failed") if broken else ("success", "success")
            for task_id, state in zip((_MIRROR, _REFRESH), states, strict=True):
                task = _task(dag, task_id, run, version, index, start, seconds, TaskInstanceState(state))
                task._rendered_map_index = segment["name"]
                rows.append(task)
                start += timedelta(seconds=seconds)
                seconds = round(20 + len(wanted) / 60 + chance.uniform(0, 9), 1)
            if not broken:
                for task_id, extra, task in zip((_MIRROR, _REFRESH), _extras(wanted, there), rows[-2:], strict=True):
                    known = {**facts, **extra, "duration": task.duration}
                    if task_id == _REFRESH:
                        known["evaluated_at"] = task.end_date.strftime("%Y-%m-%dT%H:%M:%SZ")
                    session.add(
                        AssetEvent(
                            asset_id=asset.id,
                            extra=known,
                            source_task_id=task_id,
                            source_dag_id=dag.dag_id,
                            source_run_id=run.run_id,
                            source_map_index=index,
                            timestamp=task.end_date,
                        )
                    )
                members[row_id] = wanted
        run.state = DagRunState.FAILED if failed else DagRunState.SUCCESS
        run.end_date = max(row.end_date for row in rows)
        session.add(run)
        session.flush()
        session.add_all(rows)


def _use(name: str) -> dict[str, Any]:
    """Return what the events of a segment say of its use."""
    if name not in UNUSED:
        return {"used_by": 1}
    return {"used_by": 0, "expires_at": f"{datetime.now(UTC) + timedelta(days=UNUSED[name]):%Y-%m-%dT%H:%M:%SZ}"}


def _extras(wanted: set[str], there: set[str]) -> Iterator[dict[str, Any]]:
    """Yield what the events of the two tasks hold besides."""
    added, removed = len(wanted - there), len(there - wanted)
    read = {"read": len(wanted), "added": added, "removed": removed, "invalid": 0, "not_found": 0}
    yield {"member_count": len(there), **read}
    yield {"member_count": len(wanted), "change": len(wanted) - len(there)}


def _task(
    dag: Any, task_id: str, run: DagRun, version: DagVersion, index: int, start: datetime, seconds: float, state: Any
) -> TaskInstance:
    task = TaskInstance(dag.get_task(task_id), version.id, run.run_id, state, index)
    task.run_id = run.run_id
    task.start_date, task.duration, task.try_number = start, seconds, 1
    task.end_date = start + timedelta(seconds=seconds)
    return task


def _asset(session: Any, segment_id: str) -> AssetModel:
    """Return the row of a segment's asset."""
    asset = segment_asset(segment_id)
    row = session.query(AssetModel).filter_by(uri=asset.uri).one_or_none()
    if row is None:
        row = AssetModel(name=asset.name, uri=asset.uri, group=asset.group)
        session.add_all([row, AssetActive(name=asset.name, uri=asset.uri)])
        session.flush()
    return row


def _link(url: str, segment_id: str) -> str:
    return f"{url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={segment_id}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
