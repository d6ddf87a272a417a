"""Bring consent over from another system."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import Reader, column, consent_to, filled_text, switch, text, words
from airflow_provider_cij._base import log_group
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import Writer, check_writable
from airflow_provider_cij.operators._member_list import check_empty, counts_text
from airflow_provider_cij.operators._rows import RowsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.api.consent.importing import ImportReport


def _column_or_none(name: str, value: object) -> str | None:
    return None if value is None else filled_text(name, value)


class CijImportConsentOperator(RowsOperator):
    """Write the consent that a source knows into the organisation. Idempotent, and never at the cost of a later "no".

    All rows are read and checked before the first write. Where several rows are about one address, the latest counts,
    and of two as late the opt-out. A row of the organisation that this operator wrote is compared by the source's date,
    which stands in its reason; any other row by the time of its last change. A "no" is turned into a yes only by a yes
    of a later date: by no setting otherwise. All duplicates of an address are written. An opt-in to a topic opts in to
    its purpose as well. An opt-out needs no date; without one it counts as said now.

    Sources: "Create consent records", "Consent management for business units"; Dataverse docs, "Use bulk operation
    messages", "Perform conditional operations".

    :param rows: whole rows: a list of dicts, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``
    :param to: the purpose or topic, and the channel; default the purpose "Commercial" by e-mail. Its ``require`` is not
        used
    :param address_column: the column of the rows that holds the address, or with ``match_on`` the key of the person;
        default ``address``
    :param value: the consent of all rows, ``"opted_in"`` or ``"opted_out"``. Default None, ``value_column`` holds it
    :param value_column: the column that holds the consent, as ``opted_in``, ``opt-out``, ``in``, ``unsubscribed`` or
        the service's number; default ``value``. True, 1 and yes are refused, because such a column may as well hold who
        wants no mail
    :param given_at_column: the column that holds when consent was given or withdrawn, with a time zone; default
        ``given_at``. None, there is none: then every row must be an opt-out
    :param reason: a text that the readers of the organisation's rows see; default empty
    :param reason_column: the column that holds such a text. Default None, ``reason`` is that of all rows
    :param match_on: a column of the contact or lead, such as ``contactid``, when ``address_column`` holds its values
        instead of addresses; everybody who has the value counts. Default None, it holds addresses
    :param table: ``contact`` (default) or ``lead``, where ``match_on`` looks
    :param overwrite: ``"if_source_newer"`` (default) writes what is later than what is there; ``"always"`` writes
        opt-outs whatever their date, and opt-ins that are later than any "no", but never over a "no" of the person's
        own; ``"never"`` only adds addresses that have no row
    :param max_invalid: how many rows may be unusable: a number of rows, a share of them such as ``"5%"``, or None for
        any number. Default 0. More fail before anything is sent
    :param max_not_found: how many values of ``match_on`` may find nobody with an address: a number, a share such as
        ``"5%"``, or None for any number. Default 0. More fail before anything is sent
    :param max_failed: how many addresses the service may refuse: a number, a share of the rows such as ``"5%"``, or
        None for any number. Default 0. With more, the task fails when the others are written
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param rejects_path: a CSV or Parquet file of the lines that were not written, with the reason; written when the
        task fails as well. Default None, no file
    :param dry_run: True only counts what would be written: nothing is sent. Default False
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``created``, ``updated``, ``unchanged``,
        ``kept_newer``, ``failed``; the last five count addresses. ``kept_newer`` are those whose row was left alone
        because it is later, or because of ``overwrite``
    :raises AirflowFailException: a column or purpose is unknown, too many rows are unusable, or a privilege is missing
    :raises CijError: the service refused too many addresses, or is not there
    """

    readers: ClassVar[Mapping[str, Reader]] = {
        **RowsOperator.readers,
        "to": consent_to,
        "address_column": filled_text,
        "value": text,
        "value_column": filled_text,
        "given_at_column": _column_or_none,
        "reason": text,
        "reason_column": filled_text,
        "match_on": column,
        "overwrite": words("if_source_newer", "always", "never"),
        "dry_run": switch,
    }

    def __init__(
        self,
        *,
        to: ConsentTo | None = None,
        address_column: str = "address",
        value: str | None = None,
        value_column: str = "value",
        given_at_column: str | None = "given_at",
        reason: str = "",
        reason_column: str | None = None,
        match_on: str | None = None,
        table: str = "contact",
        overwrite: str = "if_source_newer",
        max_not_found: int | float | str | None = 0,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.address_column = address_column
        self.value = value
        self.value_column = value_column
        self.given_at_column = given_at_column
        self.reason = reason
        self.reason_column = reason_column
        self.match_on = match_on
        self.table = table
        self.overwrite = overwrite
        self.max_not_found = max_not_found
        self.plan_only = dry_run

    def _execute(self, context: Context) -> dict[str, int]:
        """Read the rows to their end, then write what differs."""
        check_writable(self.rejects_path)
        report = self.call(lambda cij: self._with_rejects(partial(self._import, cij)))
        counts = report.as_dict()
        self.log.info("Consent: %s", counts_text(counts))
        check_empty(report.read, self.on_empty)
        if self.plan_only:
            self.log.info("This was a dry run: nothing is changed")
        limit = bound_of("max_failed", self.max_failed)
        if not limit.allows(report.failed, report.read):
            raise CijError(
                f"{report.failed:,} addresses of {report.read:,} rows were not written, more than {limit}.",
                hint="rejects_path gives a file of their lines. The others are written.",
            )
        return counts

    async def _import(self, cij: Cij, rejects: Writer | None) -> ImportReport:
        from airflow_provider_cij.api.consent.consent_to import ConsentTo
        from airflow_provider_cij.api.consent.importing import ImportSpec, import_consent
        from airflow_provider_cij.api.consent.statements import Columns, value_of

        columns = Columns(
            self.address_column,
            self.value_column if self.value is None else None,
            self.given_at_column,
            self.reason_column,
        )
        spec = ImportSpec(
            self.to or ConsentTo(),
            columns,
            None if self.value is None else value_of("value", self.value),
            self.reason,
            self.overwrite,
            self.match_on,
            self.table,
            self.plan_only,
        )
        with log_group(self.log, f"Import consent from {self.rows!r}"):
            return await import_consent(
                cij.dataverse,
                self.rows.rows(cij.dataverse, columns.names()),
                spec,
                max_invalid=bound_of("max_invalid", self.max_invalid),
                max_not_found=bound_of("max_not_found", self.max_not_found),
                on_rejected=rejects.write if rejects else None,
            )
