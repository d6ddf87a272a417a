"""Check the arguments of mapped tasks while the DAG file is parsed: Airflow constructs none of them by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.mappedoperator import OperatorPartial

if TYPE_CHECKING:
    from airflow.sdk.definitions.mappedoperator import MappedOperator


class CheckedPartial(OperatorPartial):
    """A partial operator whose class checks what it is expanded with."""

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        """Return the mapped operator, once its arguments were checked."""
        self._check(mapped_kwargs)
        return super().expand(**mapped_kwargs)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Return the mapped operator, once its arguments were checked as far as they are known."""
        self._check(entries(kwargs))
        return super().expand_kwargs(kwargs, strict=strict)

    def _check(self, expanded: Mapping[str, Any] | Sequence[Any]) -> None:
        task: Any = self.operator_class
        try:
            task.check_mapped(self.kwargs, expanded)
        except Exception:
            self._expand_called = True  # else Airflow warns on top that it was never mapped
            raise


def entries(values: Any) -> Sequence[Any]:
    """Return the entries of a list that a task is mapped over; none of what another task gives.

    :param values: a list, a dict, or another task's output
    """
    if isinstance(values, Mapping):
        return list(values.items())
    return values if isinstance(values, (list, tuple)) else ()
