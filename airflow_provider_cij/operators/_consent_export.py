"""Write the consent that changed to a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset

from airflow_provider_cij._arguments import Reader, consent_to, switch, text
from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.api.timestamps import parse_utc
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, outside, writing

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.api.consent.export import Cursor


class CijExportConsentOperator(CijOperator):
    """Write the consent that changed since the last run to a CSV or Parquet file, each change once.

    On Airflow 3.3 and newer, a concrete asset among the task's ``outlets`` keeps how far the runs have come. A retry of
    the same run, and the run cleared right after it, write the same changes again, and those that came since, to the
    same file. Otherwise every run begins at ``since``.

    The file's columns are ``address``, ``channel``, ``value``, ``purpose_id``, ``topic_id``, ``given_at``, ``source``
    and ``reason``, oldest first. A row that was changed several times is there as often as it was seen to change. The
    file appears when it is whole, in place of an older one.

    Source: table reference of msdynmkt_contactpointconsent4; "Create consent records" (circular loop).

    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet``
    :param to: the purpose, or the topic, and the channel; a purpose without its topics. Default None, all
    :param value: only ``"opted_in"`` or ``"opted_out"``. Default None, all
    :param since: a datetime with its time zone, or ISO 8601 with one: the changes from then on. With an asset that
        keeps the state, it is where the first run begins. Default None, with the first change of all, which needs such
        an asset
    :param include_own: True also writes what ``CijImportConsentOperator`` wrote. Default False, because two systems
        would echo each other
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"count", "own", "path"}``: the changes in the file, and those left out as our own
    :raises AirflowFailException: there is no such folder, purpose or topic, or neither ``since`` nor an asset is given
    """

    readers: ClassVar[Mapping[str, Reader]] = {"to": consent_to, "value": text, "include_own": switch}

    def __init__(
        self,
        *,
        path: str,
        to: ConsentTo | None = None,
        value: str | None = None,
        since: datetime | str | None = None,
        include_own: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.to = to
        self.value = value
        self.since = since
        self.include_own = include_own

    def _execute(self, context: Context) -> dict[str, Any]:
        """Read what changed, write it, then store how far that is."""
        check_writable(self.path)
        since = None if self.since is None else parse_utc("since", self.since)
        state = _ExportState(context, self.outlets)
        if since is None and not state.kept:
            raise CijInputError(
                "Where to begin is not given.",
                hint="Give since, or on Airflow 3.3 and newer an Asset as an outlet: it keeps how far the runs came.",
            )
        with log_group(self.log, f"Export consent to {self.path}"):
            report, before, after = self.call(lambda cij: self._export(cij, state, since))
        state.save(before, after)
        text = "Wrote %s changes of consent to %s, left out %s of our own"
        self.log.info(text, f"{report['count']:,}", self.path, f"{report['own']:,}")
        return report

    async def _export(
        self, cij: Cij, state: _ExportState, since: datetime | None
    ) -> tuple[dict[str, Any], Cursor, Cursor]:
        from airflow_provider_cij.api.consent.export import COLUMNS, ConsentExport, Cursor
        from airflow_provider_cij.api.consent.statements import value_of

        before = state.cursor() or Cursor(since)
        self.log.info("Changes since %s", before.start or "the first one")
        export = ConsentExport(cij.dataverse, before, include_own=self.include_own)
        value = None if self.value is None else value_of("value", self.value)
        async with outside(writing(self.path, COLUMNS)) as file:
            async for rows in export.rows(self.to, value):
                await asyncio.to_thread(file.write, rows)
        return {"count": export.count, "own": export.own, "path": self.path}, before, export.cursor()


class _ExportState:
    """How far the runs of an export have come, in the state of an asset.

    It holds where the last run began and ended. A retry of that run begins where it began, because the file that it
    replaces holds those changes.

    :param context: the context of the task's run
    :param outlets: of the task; the first concrete asset is used
    """

    def __init__(self, context: Any, outlets: Iterable[Any]) -> None:
        stores = context.get("asset_state_store")
        asset = next((outlet for outlet in outlets if isinstance(outlet, Asset)), None)
        instance = context["ti"]
        self._store = stores[asset] if stores is not None and asset is not None else None
        self._key = f"cij_consent {instance.dag_id} {instance.task_id} {instance.map_index}"
        self._run = str(instance.run_id)

    @property
    def kept(self) -> bool:
        """True when there is an asset that keeps the state."""
        return self._store is not None

    def cursor(self) -> Cursor | None:
        """Return where this run begins; None when no run has come to its end."""
        from airflow_provider_cij.api.consent.export import Cursor

        state = self._store.get(self._key) if self._store is not None else None
        if not isinstance(state, dict):
            return None
        return Cursor.from_dict(state["before" if state.get("run") == self._run else "after"])

    def save(self, before: Cursor, after: Cursor) -> None:
        """Store how far this run came."""
        if self._store is not None:
            state = {"run": self._run, "before": before.as_dict(), "after": after.as_dict()}
            self._store.set(self._key, state)
