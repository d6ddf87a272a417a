"""Every operator and sensor, with arguments that are right."""

from __future__ import annotations

import inspect
from importlib import import_module

from airflow.sdk import BaseSensorOperator

from airflow_provider_cij._base import CijTask
from airflow_provider_cij.api.outbound.workflow import Tile, segment_email_workflow
from airflow_provider_cij.operators.outbound import CijOutboundUpdateSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijDeleteSegmentOperator

ID = "11111111-2222-3333-4444-555555555555"
GOOD = {
    "segment_id": ID,
    "journey_id": ID,
    "template_id": ID,
    "segment_ids": [ID],
    "display_name": "Gold",
    "name": "Gold",
    "query": "PROFILE(contact)",
    "workflow": segment_email_workflow([Tile(ID, "S")], Tile(ID, "Mail")),
    "group": "in",
    "members": [ID],
    "rows": [{"new_customerno": "1"}],
    "trigger": "order",
    "path": "members.csv",
    "min_members": 1,
    "sql_conn_id": "fabric",
    "fresher_than": "2026-11-02T03:00:00Z",
}


def task_kinds():
    """Yield the class of every operator and sensor."""
    for module in ("segments", "members", "journeys", "triggers", "records", "consent", "outbound"):
        yield from _of(f"operators.{module}")
    for module in ("segments", "journeys", "interactions", "outbound"):
        yield from _of(f"sensors.{module}")


def _of(module):
    found = inspect.getmembers(import_module(f"airflow_provider_cij.{module}"), inspect.isclass)
    return [
        cls
        for name, cls in found
        if name.startswith("Cij") and name not in ("CijTask", "CijOperator") and issubclass(cls, CijTask)
    ]


def parameters_of(kind):
    """Return the constructor arguments of a class and its bases, with their defaults."""
    found = {}
    for cls in kind.__mro__:
        if cls.__module__.startswith("airflow_provider_cij") and "__init__" in vars(cls):
            for name, parameter in inspect.signature(vars(cls)["__init__"]).parameters.items():
                found.setdefault(name, parameter.default)
    for former in ("wait_until_live", "wait_until_stopped", "at_least"):
        found.pop(former, None)
    if kind is CijDeleteSegmentOperator:  # which always waits
        found.pop("wait")
    if kind is CijOutboundUpdateSegmentMembersOperator:  # whose segments have no groups
        found.pop("group")
    if issubclass(kind, BaseSensorOperator):
        found |= {"poke_interval": 60.0, "timeout": 60.0, "soft_fail": False}
    return found


def good_arguments(kind, parameters):
    """Return the arguments that a task of a class needs.

    :param kind: the class
    :param parameters: its arguments, as ``parameters_of`` returns them
    """
    given = {name: value for name, value in GOOD.items() if name in parameters}
    if "query" in given and ("members" in given or issubclass(kind, BaseSensorOperator)):
        del given["query"]
    if "include_own" in parameters:
        given["since"] = GOOD["fresher_than"]
    return given | ({"key": "new_customerno"} if {"rows", "key"} <= parameters.keys() else {})
