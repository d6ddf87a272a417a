"""``python -m demo`` runs the main job and prints what came of it; ``python -m demo ui`` leaves the web UI running."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cij_sandbox.testing import Sandbox, running_sandbox

from demo import weekly
from demo.audience import Audience
from demo.examples import Examples, prepare
from demo.stack import Stack

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".demo"
WEEKLY = FOLDER / "data" / "weekly"
DAG_ID = "cij_vip_segment"
_STARTED = time.monotonic()


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "ui"), default="run")
    parser.add_argument("--contacts", type=int, default=50_000, help="contacts in the sandbox")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    say(f"Starting a sandbox with {options.contacts:,} contacts")
    with running_sandbox(
        "--contacts", str(options.contacts), "--compute-seconds", "0", "--with-journey-instances"
    ) as sandbox:
        say(f"Sandbox at {sandbox.base_url}. Preparing what the example DAGs need, in {FOLDER.relative_to(ROOT)}")
        examples = prepare(sandbox.airflow_conn_uri, FOLDER)
        if options.what == "ui":
            weekly.prepare(sandbox.airflow_conn_uri, WEEKLY)
            weekly.write_dag(WEEKLY, examples.dags)
        # From now on a person can watch what is published.
        sandbox.hurry(compute_seconds=6, retry_after=3600, speed=1)
        say("Starting Airflow: API server, scheduler, triggerer and DAG processor")
        with Stack(FOLDER / "airflow", examples.dags) as airflow:
            examples.connect(airflow, sandbox.airflow_conn_uri)
            airflow.wait_for_dag(DAG_ID)
            say(f"Airflow at {airflow.url}. Running {DAG_ID}")
            run_id = airflow.trigger(DAG_ID)
            tasks = {}
            for task in airflow.watch(DAG_ID, run_id):
                tasks[task["task_id"]] = task
                say(f"  {task['task_id']}: {task['state']}")
            good = report(airflow, run_id, list(tasks), examples.audience)
            if options.what == "ui":
                say(f"Writing {weekly.WEEKS - 1} weeks of 60 segments, and running the weekly DAGs for this week")
                airflow.run(sys.executable, "-m", "demo.history", str(WEEKLY), str(examples.dags), sandbox.base_url)
                for dag_id in weekly.DAG_IDS:
                    airflow.wait_for_dag(dag_id)
                    airflow.trigger(dag_id, {"week": weekly.WEEKS - 1})
                airflow.trigger("cij_journey_results")
                print(_addresses(airflow, sandbox, examples, run_id), flush=True)
                signal.pause()
    return 0 if good else 1


def _addresses(airflow: Stack, sandbox: Sandbox, examples: Examples, run_id: str) -> str:
    """Return the addresses of Airflow and the sandbox, with users, passwords and the client secret."""
    return f"""
Airflow           {airflow.url}
  segments        {airflow.url}/plugin/cij
  this run        {airflow.url}/dags/{DAG_ID}/runs/{run_id}
  user, password  admin, {airflow.password}
                  viewer, {airflow.password_of("viewer")}
  DAGs            {", ".join([*examples.ids, *weekly.DAG_IDS])}
                  Trigger any of them as it is. cij_approved_journey asks its question under Required Actions.

Organisation      {sandbox.base_url}
                  Open it in a browser to look around (its certificate is its own: {sandbox.ca}).
  client id       {sandbox.client_id}
  client secret   {sandbox.client_secret}
  tenant          {sandbox.tenant}
  connection      cij_default in Airflow, or elsewhere
                  export AIRFLOW_CONN_CIJ_DEFAULT='{sandbox.airflow_conn_uri}'
  go wrong        curl -k -H 'Content-Type: application/json' -d '{{"fault": "429", "count": 3}}' \\
                       {sandbox.base_url}/sandbox/faults

Ctrl+C stops everything."""


def _stop(*_: object) -> None:
    """End by way of every ``with``, which stops what it started."""
    sys.exit(130)


def say(text: str) -> None:
    """Show progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", flush=True)


def report(airflow: Stack, run_id: str, order: list[str], audience: Audience) -> bool:
    """Print the tasks with their numbers, and how the members add up; tell whether they do."""
    states = {task["task_id"]: task for task in airflow.tasks(DAG_ID, run_id)}
    print(f"\n{'task':<18}{'state':<10}{'seconds':>8}  numbers")
    for task_id in order:
        task = states[task_id]
        result = airflow.result(DAG_ID, run_id, task_id) if task["state"] == "success" else {}
        print(f"{task_id:<18}{task['state']:<10}{_seconds(task):>8.1f}  {_numbers(result)}")
    if any(task["state"] != "success" for task in states.values()):
        failed = next(task_id for task_id, task in states.items() if task["state"] == "failed")
        print(airflow.log(DAG_ID, run_id, failed)[-3000:])
        return False

    exported = set(Path(audience.parameters["export_file"]).read_text().split()[1:])
    expected = (audience.found | audience.invited) - audience.staff
    print(
        f"\n  {len(audience.found):>7,}  contacts that the query finds"
        f"\n+ {len(audience.invited - audience.found):>7,}  invited and not among them"
        f"\n- {len(audience.staff & (audience.found | audience.invited)):>7,}  staff among all these"
        f"\n= {len(expected):>7,}  members; exported: {len(exported):,}"
        f"{', the very same people' if exported == expected else ', AND NOT THE SAME PEOPLE'}"
    )
    return exported == expected


def _seconds(task: dict[str, Any]) -> float:
    return float(task["duration"] or 0)


def _numbers(result: dict[str, Any]) -> str:
    shown = {
        name: value
        for name, value in result.items()
        if isinstance(value, (int, str)) and value not in (0, "") and not name.endswith("_id") and name != "path"
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


if __name__ == "__main__":
    sys.exit(main())
