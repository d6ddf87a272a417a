"""Bring contacts and leads over from a warehouse: create those that are missing, change those that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import Reader, column, number, switch, words
from airflow_provider_cij._base import log_group
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.records.arguments import (
    DUPLICATES,
    MODES,
    MULTIPLE_MATCHES,
    Columns,
    check_batch_size,
    check_columns,
)
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import Writer, check_writable, outside, writing
from airflow_provider_cij.operators._member_list import check_empty, counts_text
from airflow_provider_cij.operators._progress import EverySecond, ProgressStore
from airflow_provider_cij.operators._rows import RowsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.records.checkpoint import UpsertCheckpoint
    from airflow_provider_cij.api.records.plan import Plan
    from airflow_provider_cij.api.records.spec import UpsertReport

_KEY = "cij_upsert"


def _columns_of_key(name: str, value: object) -> list[str]:
    several = list(value) if isinstance(value, (list, tuple, set)) else [value]
    names = [column(name, key_column) for key_column in several]
    if not names:
        raise CijInputError(f"{name} is an empty list.", hint="Give a column's logical name, or a list of them.")
    return names


def _columns(name: str, value: object) -> object:
    check_columns(value, name)
    return value


def _batch_size(name: str, value: object) -> object:
    return check_batch_size(number(name, value), name)


class _UpsertOperator(RowsOperator):
    """Create and update the rows of one table."""

    readers: ClassVar[Mapping[str, Reader]] = {
        **RowsOperator.readers,
        "key": _columns_of_key,
        "columns": _columns,
        "batch_size": _batch_size,
        "mode": words(*MODES),
        "duplicates": words(*DUPLICATES),
        "on_multiple_matches": words(*MULTIPLE_MATCHES),
        "clear_empty": switch,
        "skip_unchanged": switch,
        "suppress_duplicate_detection": switch,
        "bypass_business_logic": switch,
    }
    row_table: ClassVar[str] = ""
    """The table's logical name."""

    def __init__(
        self,
        *,
        key: str | Sequence[str],
        columns: Columns | None = None,
        mode: str = "upsert",
        batch_size: int = 100,
        on_multiple_matches: str = "refuse",
        duplicates: str = "refuse",
        clear_empty: bool = False,
        skip_unchanged: bool = True,
        ids_path: str | None = None,
        suppress_duplicate_detection: bool = True,
        bypass_business_logic: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.columns = columns
        self.mode = mode
        self.batch_size = batch_size
        self.on_multiple_matches = on_multiple_matches
        self.duplicates = duplicates
        self.clear_empty = clear_empty
        self.skip_unchanged = skip_unchanged
        self.ids_path = ids_path
        self.suppress_duplicate_detection = suppress_duplicate_detection
        self.bypass_business_logic = bypass_business_logic

    def _execute(self, context: Context) -> dict[str, Any]:
        """Read the rows to their end, then write those that are new or differ."""
        check_writable(self.rejects_path)
        check_writable(self.ids_path)
        progress = ProgressStore(context, self.log, _KEY)
        report = self.call(lambda cij: self._with_rejects(partial(self._upsert, cij, progress)))
        progress.delete()
        counts = report.as_dict()
        self.log.info("Upserted %ss: %s", self.row_table, counts_text(counts))
        check_empty(report.read, self.on_empty)
        return counts | ({"ids_path": self.ids_path} if self.ids_path is not None else {})

    async def _upsert(self, cij: Cij, progress: ProgressStore, rejects: Writer | None) -> UpsertReport:
        from airflow_provider_cij.api.records.checkpoint import UpsertCheckpoint

        ids: list[Any] = []

        async def on_plan(plan: Plan, count: int) -> None:
            self.log.info("Checked %s distinct rows of %s, looking them up", f"{count:,}", plan.table.name)
            if self.ids_path is not None:
                names = [
                    *([] if plan.by_id else (key_column.name for key_column in plan.key_columns)),
                    plan.table.id_column,
                ]
                ids.append(await files.enter_async_context(outside(writing(self.ids_path, names))))

        def checkpoint(job: str) -> UpsertCheckpoint:
            found = UpsertCheckpoint.load(progress.load(job), progress.save)
            if found.counts:
                done = sum(found.counts.values())
                self.log.info("An earlier try has done %s rows of the same list, going on from there", f"{done:,}")
            return found

        async with AsyncExitStack() as files:
            with log_group(self.log, f"Upsert {self.row_table}s from {self.rows!r}"):
                return await cij.records.upsert(
                    self.row_table,
                    self.rows.rows(cij.dataverse, None if self.columns is None else list(self.columns)),
                    key=self.key,
                    columns=self.columns,
                    on_rejected=rejects.write if rejects else None,
                    on_ids=(lambda rows: ids[0].write(rows)) if self.ids_path is not None else None,
                    on_plan=on_plan,
                    on_progress=_Progress(self.log),
                    checkpoint=checkpoint,
                    mode=self.mode,
                    batch_size=self.batch_size,
                    on_multiple_matches=self.on_multiple_matches,
                    duplicates=self.duplicates,
                    clear_empty=self.clear_empty,
                    skip_unchanged=self.skip_unchanged,
                    max_invalid=bound_of("max_invalid", self.max_invalid),
                    max_failed=bound_of("max_failed", self.max_failed),
                    suppress_duplicate_detection=self.suppress_duplicate_detection,
                    bypass_business_logic=self.bypass_business_logic,
                )


class CijUpsertContactsOperator(_UpsertOperator):
    """Create and update contacts from rows of a warehouse. Idempotent: what is the same already is not sent.

    All rows are read and checked against the definition of the table before the first write. Then they are looked up by
    ``key``. Those that differ are updated by their ids. New ones are created by the alternate key if ``key`` is one,
    otherwise with ids that derive from ``key``, so that a repeat makes no second one. A request of ``batch_size`` rows
    that the service refuses is sent row by row, so that only the rows at fault fail.

    Sources: Dataverse docs, "Use bulk operation messages", "Define alternate keys for a table", "Upsert a table row",
    "Execute batch operations using the Web API".

    :param rows: whole rows: a list of dicts, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``
    :param key: the logical name of the column that tells rows apart, or a list of them: those of an Active alternate
        key, the primary id, or others such as ``emailaddress1``. Letters of either case are equal
    :param columns: the columns to write: logical names by the names in the rows, such as ``{"mail": "emailaddress1"}``;
        ``lookup("account", "accountnumber")`` for a column that refers to a row of another table. Default None, all
        columns of the rows, by the same names. A choice is given by its label or number; a moment without an offset is
        UTC
    :param mode: ``"upsert"`` (default), ``"update_only"``: rows that are not found are counted and listed in
        ``rejects_path``, or ``"create_only"``: rows that exist are left as they are
    :param batch_size: rows a request, from 1 to 1,000; default 100, the fastest with several requests at once. It is
        halved when the service's database takes too long
    :param on_multiple_matches: what a row does whose key several contacts have: ``"refuse"`` (default) it fails,
        ``"oldest"`` changes the one that was created first, ``"all"`` changes each
    :param duplicates: what several rows with the same key do: ``"refuse"`` (default) fails before anything is written,
        ``"first"`` or ``"last"`` lets that one count
    :param clear_empty: True clears a column where the row's value is empty. Default False, such a column is left alone
    :param skip_unchanged: True (default) sends only rows, and columns of them, that differ from what is there: each row
        that is sent counts towards the daily entitlement
    :param max_invalid: how many rows may be invalid (no key, a text too long, an unknown choice): a number of rows, a
        share of them such as ``"5%"``, or None for any number. Default 0. More fail before anything is written
    :param max_failed: how many rows the service may refuse: a number of rows, a share such as ``"5%"``, or None for any
        number. Default 0. With more, the task stops at the next 5,000 rows and fails; what was accepted stays
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param rejects_path: a CSV or Parquet file of the rows that were not written, with line and reason; written when the
        task fails as well. Default None, no file
    :param ids_path: a CSV or Parquet file of keys and ids of the rows' contacts, which operators of members take as
        ``FromFile(ids_path)``. Default None, no file
    :param suppress_duplicate_detection: False applies the organisation's duplicate detection rules. Default True, as
        the service does by itself
    :param bypass_business_logic: True bypasses the organisation's own plug-ins and workflows, which needs the privilege
        ``prvBypassCustomBusinessLogic``. Default False
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``read``, ``invalid``, ``duplicate``, ``created``, ``updated``, ``unchanged``, ``not_found``,
        ``existing``, ``failed``, ``requests``, ``resumed_from``, over all tries but ``requests``; and ``ids_path`` when
        it is given
    :raises AirflowFailException: a column is unknown or read-only, the alternate key is not Active, too many rows are
        invalid, rows have the same key, or the service refused too many rows
    """

    row_table = "contact"


class CijUpsertLeadsOperator(_UpsertOperator):
    """Create and update leads from rows of a warehouse. Idempotent: what is the same already is not sent.

    All rows are read and checked against the definition of the table before the first write. Then they are looked up by
    ``key``. Those that differ are updated by their ids. New ones are created by the alternate key if ``key`` is one,
    otherwise with ids that derive from ``key``, so that a repeat makes no second one. A request of ``batch_size`` rows
    that the service refuses is sent row by row, so that only the rows at fault fail.

    Sources: Dataverse docs, "Use bulk operation messages", "Define alternate keys for a table", "Upsert a table row",
    "Execute batch operations using the Web API".

    :param rows: whole rows: a list of dicts, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``
    :param key: the logical name of the column that tells rows apart, or a list of them: those of an Active alternate
        key, the primary id, or others such as ``emailaddress1``. Letters of either case are equal
    :param columns: the columns to write: logical names by the names in the rows, such as ``{"mail": "emailaddress1"}``;
        ``lookup("account", "accountnumber")`` for a column that refers to a row of another table. Default None, all
        columns of the rows, by the same names. A choice is given by its label or number; a moment without an offset is
        UTC
    :param mode: ``"upsert"`` (default), ``"update_only"``: rows that are not found are counted and listed in
        ``rejects_path``, or ``"create_only"``: rows that exist are left as they are
    :param batch_size: rows a request, from 1 to 1,000; default 100, the fastest with several requests at once. It is
        halved when the service's database takes too long
    :param on_multiple_matches: what a row does whose key several leads have: ``"refuse"`` (default) it fails,
        ``"oldest"`` changes the one that was created first, ``"all"`` changes each
    :param duplicates: what several rows with the same key do: ``"refuse"`` (default) fails before anything is written,
        ``"first"`` or ``"last"`` lets that one count
    :param clear_empty: True clears a column where the row's value is empty. Default False, such a column is left alone
    :param skip_unchanged: True (default) sends only rows, and columns of them, that differ from what is there: each row
        that is sent counts towards the daily entitlement
    :param max_invalid: how many rows may be invalid (no key, a text too long, an unknown choice): a number of rows, a
        share of them such as ``"5%"``, or None for any number. Default 0. More fail before anything is written
    :param max_failed: how many rows the service may refuse: a number of rows, a share such as ``"5%"``, or None for any
        number. Default 0. With more, the task stops at the next 5,000 rows and fails; what was accepted stays
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param rejects_path: a CSV or Parquet file of the rows that were not written, with line and reason; written when the
        task fails as well. Default None, no file
    :param ids_path: a CSV or Parquet file of keys and ids of the rows' leads, which operators of members take as
        ``FromFile(ids_path)``. Default None, no file
    :param suppress_duplicate_detection: False applies the organisation's duplicate detection rules. Default True, as
        the service does by itself
    :param bypass_business_logic: True bypasses the organisation's own plug-ins and workflows, which needs the privilege
        ``prvBypassCustomBusinessLogic``. Default False
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``read``, ``invalid``, ``duplicate``, ``created``, ``updated``, ``unchanged``, ``not_found``,
        ``existing``, ``failed``, ``requests``, ``resumed_from``, over all tries but ``requests``; and ``ids_path`` when
        it is given
    :raises AirflowFailException: a column is unknown or read-only, the alternate key is not Active, too many rows are
        invalid, rows have the same key, or the service refused too many rows
    """

    row_table = "lead"


class _Progress:
    """Logs the rows whose outcome is known: once a second, and at the end."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._seconds = EverySecond()

    def __call__(self, done: int, total: int) -> None:
        if self._seconds.passed(last=done == total):
            self._log.info("%s of %s rows", f"{done:,}", f"{total:,}")
