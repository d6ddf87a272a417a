"""Name the row of a task: by its key, or by the task's own name. A mapped task must bring a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._mapping import entries
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow.sdk import Context


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
    def check_mapped(cls, partial: Mapping[str, Any], expanded: Mapping[str, Any] | Sequence[Any]) -> None:
        """Check the arguments of a mapped task, and that each of its instances has a key of its own."""
        super().check_mapped(partial, expanded)
        key, why = partial.get("key"), ""
        if isinstance(expanded, Mapping):
            named, listed = "key" in expanded, list(entries(expanded.get("key")))
        else:
            # What another task returns is not known yet: the key is checked when the task runs.
            listed = [entry.get("key") for entry in expanded if isinstance(entry, Mapping)]
            named = None not in listed
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
            raise _refusal(partial.get("task_id"), why)
