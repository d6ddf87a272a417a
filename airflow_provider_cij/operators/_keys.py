"""Name the row of a task: by its key, or by the task's own name. A mapped task must bring a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.mappedoperator import OperatorPartial

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import MappedOperator


def _refusal(task_id: object, why: str = "has no key") -> CijInputError:
    return CijInputError(
        f"The mapped task {task_id!r} {why}: the map index is no name, because a list with one more entry in front "
        "would give every row to another entry.",
        hint='Give a key for each entry, such as .expand_kwargs([{"key": "newsletter-nl", "display_name": "NL"}]).',
    )


def key_of(task: Any, context: Context) -> str:
    """Return the key of a task, by default ``dag_id.task_id``.

    :param task: the operator, with ``key``
    :param context: of the running task
    :raises CijInputError: the task is mapped, itself or in a task group, and has no key
    """
    if task.key is not None:
        return task.key  # type: ignore[no-any-return]
    index = context["ti"].map_index
    if index is not None and index >= 0:
        raise _refusal(task.task_id)
    return f"{task.dag_id}.{task.task_id}"


def warn_of_rename(log: Any, what: str, row_id: str, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Warn that a row has another name than before.

    :param log: the task's
    :param what: what the row is, such as ``Segment``
    :param row_id: its id
    :param changes: what was written, as the api gives it
    """
    for name in ("display_name", "name"):
        if (change := changes.get(name)) and change["old"]:
            log.warning("%s %s was %r and is now %r", what, row_id, change["old"], change["new"])


class _KeyedPartial(OperatorPartial):
    """A partial operator that refuses to be expanded without keys."""

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        self._check("key" in mapped_kwargs, mapped_kwargs.get("key"))
        return super().expand(**mapped_kwargs)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        # What another task returns is not known yet: the key is checked when the task runs.
        entries = kwargs if isinstance(kwargs, Sequence) else ()
        keys = [entry.get("key") for entry in entries if isinstance(entry, Mapping)]
        self._check(None not in keys, keys)
        return super().expand_kwargs(kwargs, strict=strict)

    def _check(self, named: bool, keys: Any = None) -> None:
        key, listed = self.kwargs.get("key"), list(keys) if isinstance(keys, (list, tuple)) else []
        why = ""
        if key is not None:
            # A template is the same for each entry as well, or names the map index.
            why = f"has the one key {key!r} for all of its entries" if isinstance(key, str) else "has one key for all"
        elif not named:
            why = "has no key"
        elif twice := [entry for entry in listed if listed.count(entry) > 1]:
            why = f"has the key {twice[0]!r} for two of its entries"
        elif any("map_index" in entry for entry in listed if isinstance(entry, str)):
            why = "has its map index in a key"
        if why:
            self._expand_called = True  # else Airflow warns on top that it was never mapped
            raise _refusal(self.kwargs.get("task_id"), why)


class Keyed(CijOperator):
    """Create a row whose ids derive from ``key``."""

    def __init__(self, *, key: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key
        made_by_expand = getattr(self, "_BaseOperator__from_mapped", False)
        if not made_by_expand and self.get_closest_mapped_task_group() is not None:
            if key is None:
                raise _refusal(self.task_id)
            if isinstance(key, str):  # an argument of the task group is none yet
                raise _refusal(self.task_id, f"has the one key {key!r} for all entries of its task group")

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Return a partial operator that is refused without keys while the DAG file is parsed."""
        made = super().partial(**kwargs)
        made._expand_called = True  # the one below is expanded in its place
        return _KeyedPartial(operator_class=made.operator_class, kwargs=made.kwargs, params=made.params)
