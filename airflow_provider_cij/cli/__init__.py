"""The commands ``airflow cij …``, and ``airflow-cij …`` for Airflow 3.1, which takes no commands from providers.

Every ``airflow`` command imports this module, so the commands themselves are imported when they run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

_CONNECTION = "id of the Airflow connection, of type cij"


def get_cli_commands() -> list[Any]:
    """Return the commands for ``airflow`` (provider info, key ``cli``)."""
    from airflow.cli import cli_config
    from airflow.cli.cli_config import ActionCommand, GroupCommand, lazy_load_command

    Arg: Any = cli_config.Arg  # which has no type annotations  # noqa: N806
    check = ActionCommand(
        name="check",
        help="Check which operators an organisation allows to run. Reads only",
        description="Check connection, user, roles, actions, tables, keys, consent settings, clock and limits. Exit "
        "code: 0 all real-time operators can run, 1 something is missing, 2 there is no connection.",
        func=lazy_load_command("airflow_provider_cij.cli.check.check"),
        args=(
            Arg(("conn_id",), nargs="?", default="cij_default", help=f"{_CONNECTION}; default: cij_default"),
            Arg(("--json",), action="store_true", help="print JSON"),
        ),
    )
    probe = ActionCommand(
        name="probe",
        help="Test the undocumented behaviour of an organisation, and write a report",
        description="Test which of the sandbox's assumptions hold on an organisation. The report contains no ids, "
        "names, hosts or people. cij-sandbox --like FILE behaves like the organisation in the report. Exit code: "
        "0 done, 1 rows of the probe could not be deleted, 2 there is no connection, or writing is not allowed.",
        func=lazy_load_command("airflow_provider_cij.cli.probe.probe"),
        args=(
            Arg(("conn_id",), help=_CONNECTION),
            Arg(("--report",), required=True, metavar="FILE", help="JSON file to write"),
            Arg(
                ("--write",),
                action="store_true",
                help="also create rows, named cij-probe-..., and delete them; not in production. Run one at a time: "
                "a run deletes the rows that an earlier one left. No journey is published",
            ),
            Arg(("--yes",), action="store_true", help="write without confirmation"),
            Arg(
                ("--despite-live-journeys",),
                action="store_true",
                help="write even if the organisation has live journeys",
            ),
            Arg(
                ("--patience",),
                type=float,
                default=900.0,
                metavar="SECONDS",
                help="seconds to wait for a segment to go live; default: 900",
            ),
        ),
    )
    return [
        GroupCommand(name="cij", help="Dynamics 365 Customer Insights - Journeys", subcommands=(check, probe)),
    ]


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the console script ``airflow-cij``."""
    (group,) = get_cli_commands()
    parser = argparse.ArgumentParser(prog="airflow-cij", description=group.help)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in group.subcommands:
        own = commands.add_parser(command.name, help=command.help, description=command.description or command.help)
        for argument in command.args:
            argument.add_to_parser(own)
        own.set_defaults(func=command.func)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command (console script ``airflow-cij``).

    :param arguments: the command and its arguments; by default those of the process
    """
    from airflow_provider_cij.cli.check import logs_on_stderr

    with logs_on_stderr():  # Airflow logs what Python 3.14 warns of while it starts
        parser = get_parser()
    options = parser.parse_args(arguments)
    options.func(options)
