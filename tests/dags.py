"""Run a DAG with Airflow's own ``dag.test()``: real templating, XCom, serialization, deferral and resumption."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow.sdk import DAG


@dataclass(frozen=True)
class FinishedRun:
    """Outcome of a DAG run: tasks by their id, mapped ones by ``id[index]``."""

    states: Mapping[str, str]
    xcoms: Mapping[str, Mapping[str, Any]]
    rendered: Mapping[str, Mapping[str, Any]]
    map_indexes: Mapping[str, str | None]

    def result(self, task: str) -> Any:
        """Return a task's return value."""
        return self.xcoms[task]["return_value"]


def run_dag(dag: DAG, conf: dict[str, Any] | None = None) -> FinishedRun:
    """Run a DAG to its end."""
    _database()
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    # dag.test() runs DAGs that lie in a file; this one lies in a test.
    DagBundlesManager().sync_bundles_to_db()
    nowhere = Path("/dev/null")
    try:
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

        bag = BundleDagBag(dag_folder=str(nowhere), bundle_path=nowhere, bundle_name="dags-folder")
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag, sync_bag_to_db

        bag = DagBag(dag_folder=str(nowhere), bundle_path=nowhere)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    # dag.test() sleeps a whole second whenever a task waits to be rescheduled or retried.
    sleep = time.sleep
    with patch.object(time, "sleep", lambda seconds: sleep(0.1 if type(seconds) is int else seconds)):
        return _what_came(dag.test(run_conf=conf))


@functools.cache
def _database() -> None:
    command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    subprocess.run(command, check=True, capture_output=True)
    from airflow_provider_cij.version_compat import conf

    Path(conf.get("core", "dags_folder")).mkdir()


def _what_came(dag_run: Any) -> FinishedRun:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    def name(row: Any) -> str:
        return row.task_id if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"

    xcoms: dict[str, dict[str, Any]] = {}
    rendered: dict[str, dict[str, Any]] = {}
    with create_session() as session:
        for row in session.scalars(select(XComModel).where(XComModel.run_id == dag_run.run_id)):
            xcoms.setdefault(name(row), {})[row.key] = XComModel.deserialize_value(row)
        for row in session.scalars(select(Rendered).where(Rendered.run_id == dag_run.run_id)):
            rendered[name(row)] = row.rendered_fields
    tasks = dag_run.get_task_instances()
    states = {name(task): str(task.state) for task in tasks}
    return FinishedRun(states, xcoms, rendered, {name(task): task.rendered_map_index for task in tasks})


def events_of(dag_id: str) -> list[tuple[str, str, int, dict]]:
    """Return the asset events of a DAG: task, URI, map index and extra."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(
            select(AssetEvent, AssetModel)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetEvent.source_dag_id == dag_id)
            .order_by(AssetEvent.id)
        ).all()
        return [(event.source_task_id, asset.uri, event.source_map_index, event.extra) for event, asset in rows]
