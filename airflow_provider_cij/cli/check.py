"""``airflow cij check``: which operators an organisation allows to run. Reads only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict

from airflow_provider_cij.cli.checking import MISSING, NO_CONNECTION, Finding, findings_of
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook


def hook_of(conn_id: str) -> CijHook:
    """Return the hook of a connection. Connections in Airflow's database are found as well.

    :param conn_id: id of the Airflow connection
    """
    # Without it Airflow reads connections from the task API, which a command has no access to.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    return CijHook(conn_id)


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Send log lines to stderr within the block. Airflow's commands log to stdout, where the result is printed."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def check(options: argparse.Namespace) -> None:
    """Print the findings, and exit with 0, 1 (something is missing) or 2 (there is no connection).

    :param options: ``conn_id`` and ``json``
    """
    try:
        with logs_on_stderr():
            found = hook_of(options.conn_id).run(findings_of)
    except CijError as error:
        found = [Finding(NO_CONNECTION, "connection", error.message, error.hint)]
    code = 2 if found[0].state == NO_CONNECTION else int(any(finding.state == MISSING for finding in found))
    if options.json:
        shown = {"exit_code": code, "findings": [asdict(finding) for finding in found]}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(found)) + "\n")
    raise SystemExit(code)


def _lines(found: list[Finding]) -> list[str]:
    width = max(len(finding.subject) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{finding.state:<8} {finding.subject:<{width}}  {finding.text}".rstrip())
        if finding.mend:
            lines.append(f"{'':<{width + 11}}> {finding.mend}")
    counts = Counter(finding.state for finding in found)
    return [*lines, ", ".join(f"{number:,} {state}" for state, number in counts.items())]
