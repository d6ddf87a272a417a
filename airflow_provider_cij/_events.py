"""What a trigger's event says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijError

_OVER = ("live", "refreshed", "stopped", "members", "completed", "finished", "publish_again")


def check_of_event(event: Mapping[str, Any] | None, key: str) -> Check:
    """Return the check that a trigger's event holds.

    :param event: what the trigger sent
    :param key: where the event holds the result
    :raises CijError: the trigger reports a failure; or there is no event, or an unknown one: never a success
    """
    if event and event.get("status") in _OVER and isinstance(event.get(key), dict):
        result, name = dict(event[key]), str(event.get("name") or "")
        status = event["status"] if event["status"] == "publish_again" else ""
        message = f"{name!r} is over: {', '.join(f'{what} {value}' for what, value in result.items())}"
        return Check(True, name, message, result, status, str(event.get("evaluated_at") or ""))
    if event and isinstance(event.get("error"), dict):
        raise CijError.from_dict(event["error"])
    raise CijError(f"The trigger came back with {event!r}, which says neither success nor failure.")
