"""Arguments that hold people: Airflow's UI shows the rendered arguments of each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _private(value: Any) -> Any:
    from airflow_provider_cij.sources.values import private

    return private(value)


def hidden(name: str, as_field: Callable[[Any], Any] = _private) -> Any:
    """Return the property of an argument that holds people.

    :param name: the argument's name
    :param as_field: turns what is given, or rendered, into a field whose text names nobody
    """

    def read(task: Any) -> Any:
        return task.__dict__[f"_{name}"]

    def write(task: Any, value: Any) -> None:
        task.__dict__[f"_{name}"] = None if value is None else as_field(value)

    return property(read, write)
