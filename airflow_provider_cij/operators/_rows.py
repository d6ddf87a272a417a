"""What operators that write whole rows share: the rows, and the file of those that were not written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from airflow_provider_cij._arguments import Reader, bound
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import Writer, writing_if_given
from airflow_provider_cij.operators._hidden import hidden
from airflow_provider_cij.sources import Source, as_source, checked

T = TypeVar("T")


def _rows(name: str, value: object) -> Source:
    return checked(value, name, "dicts")


class RowsOperator(CijOperator):
    """A task with ``rows``."""

    # FromSql("rows.sql", …) reads the file rows.sql.
    template_ext: Sequence[str] = (".sql",)
    readers: ClassVar[Mapping[str, Reader]] = {"rows": _rows, "max_failed": bound}

    # Rows are people: a bare list would be shown in the UI.
    rows = hidden("rows", as_source)

    def __init__(
        self,
        *,
        rows: Iterable[Mapping[str, object]] | Source,
        max_invalid: int | float | str | None = 0,
        max_failed: int | float | str | None = 0,
        on_empty: str = "fail",
        rejects_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        self.max_invalid = max_invalid
        self.max_failed = max_failed
        self.on_empty = on_empty
        self.rejects_path = rejects_path

    async def _with_rejects(self, work: Callable[[Writer | None], Awaitable[T]]) -> T:
        """Await work that is given the file of ``rejects_path``, which is written when the work fails as well."""
        failure: CijError | None = None
        async with writing_if_given(self.rejects_path, ("line", "reason")) as rejects:
            try:
                return await work(rejects)
            except CijError as error:
                failure = error
        raise failure
