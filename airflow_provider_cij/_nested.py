"""Objects within a task's arguments that hold templates or other tasks' output: sources, groups, kinds of consent."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

from airflow_provider_cij.version_compat import ResolveMixin


class NestedTemplate(ResolveMixin):
    """An object with ``template_fields`` that waits for the tasks whose output it holds.

    Airflow looks for other tasks' output in a task's arguments, but not within objects. It asks a ``ResolveMixin``.
    """

    template_fields: tuple[str, ...] = ()

    def iter_references(self) -> Iterator[Any]:
        """Yield the tasks whose output the object holds, each with the output's key."""
        from airflow.sdk.definitions.xcom_arg import XComArg

        for field in self.template_fields:
            yield from XComArg.iter_xcom_references(getattr(self, field))

    def resolve(self, context: Any) -> Any:
        """Return a rendered copy.

        :param context: the context of the running task
        """
        return rendered_copy(self, context["task"].render_template, context)


def rendered_copy(nested: Any, render: Any, *how: Any) -> Any:
    """Return a copy of an object with its template fields rendered.

    The object itself stays as it is: other tasks, other map indexes and the next try of the task hold it as well.

    :param nested: an object with ``template_fields``
    :param render: renders the value of a field, as ``render_template`` of a task does
    :param how: what ``render`` is given beside the value
    """
    rendered = copy(nested)
    for field in nested.template_fields:
        object.__setattr__(rendered, field, render(getattr(nested, field), *how))  # also of a frozen dataclass
    return rendered
