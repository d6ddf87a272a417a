"""Airflow in a test's process: a database of its own, a DAG folder, a connection. Needs Airflow in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from airflow.sdk import DAG

_NO_DAGS = "no_dags"
# What Airflow calls the folder of [core] dags_folder.
_BUNDLE = "dags-folder"


class Airflow:
    """Finds the DAGs of a folder, and makes them ready for ``dag.test()``."""

    def __init__(self, dags_folder: Path) -> None:
        self._folder = dags_folder

    def dag(self, dag: str | DAG) -> DAG:
        """Return a DAG that is ready for ``test()``.

        :param dag: the id of a DAG in the folder ``dags``, or a DAG that the test has made itself
        :raises LookupError: the folder has no such DAG; the error lists the DAGs that it has, and its import errors
        """
        if not isinstance(dag, str):
            bag = _bag(Path(os.devnull))
            bag.bag_dag(dag)
            _store(bag)
            return dag
        bag = _bag(self._folder)
        if dag not in bag.dags:
            found = ", ".join(sorted(bag.dags)) or "none"
            broken = "".join(f"\n{file}: {error}" for file, error in bag.import_errors.items())
            raise LookupError(f"There is no DAG {dag!r} in {self._folder}; there are: {found}{broken}")
        _store(bag)
        found_dag: DAG = bag.dags[dag]
        return found_dag


def create_database(home: Path) -> Path:
    """Create Airflow's database in a folder, and return the folder."""
    (home / _NO_DAGS).mkdir()
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    environment = {**os.environ, **_settings(home, home / _NO_DAGS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"Airflow's database was not created:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return home


@contextmanager
def airflow_for_tests(home: Path, dags_folder: Path | None, connection_uri: str) -> Iterator[Airflow]:
    """Let this process use the database in a folder while the block lasts.

    :param home: what ``create_database`` has returned
    :param dags_folder: the DAG folder; None for none
    :param connection_uri: the connection ``cij_default``
    """
    folder = dags_folder or home / _NO_DAGS
    with patch.dict(os.environ, {**_settings(home, folder), "AIRFLOW_CONN_CIJ_DEFAULT": connection_uri}):
        _reconnect()
        yield Airflow(folder)
    _reconnect()


def _settings(home: Path, dags_folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _reconnect() -> None:
    """Connect to the database of the settings, when Airflow was imported before them: it connects as it is imported."""
    if (settings := sys.modules.get("airflow.settings")) is not None:
        settings.dispose_orm()
        settings.configure_vars()
        settings.configure_orm()


def _bag(folder: Path) -> Any:
    """Return the DAGs of a folder. The class has another place and name in Airflow 3.1."""
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return DagBag(dag_folder=str(folder), bundle_path=folder)
    return BundleDagBag(dag_folder=str(folder), bundle_path=folder, bundle_name=_BUNDLE)


def _store(bag: Any) -> None:
    """Store DAGs. ``dag.test()`` does it for those of the folder, but not in Airflow 3.1.0."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(bag, _BUNDLE, None)
