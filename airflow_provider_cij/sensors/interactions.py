"""Wait for the interactions of journeys (sent, delivered, opened, clicked), which Microsoft Fabric holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_cij._arguments import Reader, filled_text, positive, switch, text
from airflow_provider_cij._base import CijTask
from airflow_provider_cij.errors import CijError, CijInputError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["CijInteractionsSensor"]

# Names go into the query's text: only what can be no syntax.
_TABLE = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}"


def _table(name: str, value: object) -> str:
    found = text(name, value)
    if not re.fullmatch(_TABLE, found):
        hint = "Give a name such as EmailSent, dbo.EmailSent or Timestamp: letters, digits and underscores."
        raise CijInputError(f"{name} is {found[:60]!r}.", hint=hint)
    return found


def _fresher_than(name: str, value: object) -> timedelta | datetime:
    from airflow_provider_cij.api.timestamps import parse_utc

    if isinstance(value, timedelta):
        positive(**{name: value.total_seconds()})
        return value
    return parse_utc(name, value)


class CijInteractionsSensor(CijTask, BaseSensorOperator):
    """Wait until the interactions of journeys are fresh enough to report on, in poke and reschedule mode.

    Interactions are in Microsoft Fabric, in a table for each kind, at most three hours behind. Any database that
    Airflow has a provider for is read: Fabric's SQL endpoint, or a copy elsewhere. Only the newest ``Timestamp`` is
    asked for. A table that is empty is waited for; one that is missing fails the task.

    Source: Customer Insights - Journeys documentation, "Fabric integration".

    :param sql_conn_id: the Airflow connection of the SQL endpoint (templated)
    :param fresher_than: a moment that the newest interaction must not be older than: a datetime with its time zone, or
        ISO 8601; or a timedelta before now (templated)
    :param interaction_table: the table of one kind of interaction, in the database's own letter case; default
        ``EmailSent`` (templated)
    :param timestamp_column: the column of moments, in UTC; default ``Timestamp`` (templated)
    :param cij_conn_id: not used, as interactions are not read from the organisation; default ``cij_default``
    :return: ``{"table", "newest"}``, ``newest`` in ISO 8601
    :raises AirflowFailException: there is no such table or connection, or an argument can't be right
    :raises AirflowSensorTimeout: it is not so fresh within ``timeout``
    """

    ui_color = "#e4f1de"
    readers: ClassVar[Mapping[str, Reader]] = {
        "sql_conn_id": filled_text,
        "fresher_than": _fresher_than,
        "interaction_table": _table,
        "timestamp_column": _table,
    }

    def __init__(
        self,
        *,
        sql_conn_id: str,
        fresher_than: datetime | timedelta | str,
        interaction_table: str = "EmailSent",
        timestamp_column: str = "Timestamp",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql_conn_id = sql_conn_id
        self.fresher_than = fresher_than
        self.interaction_table = interaction_table
        self.timestamp_column = timestamp_column

    def _execute(self, context: Context) -> Any:
        """Wait in the worker, or between workers."""
        self.soft_fail = switch("soft_fail", self.soft_fail)
        positive(poke_interval=self.poke_interval, timeout=self.timeout)
        return BaseSensorOperator.execute(self, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once for the newest interaction."""
        from airflow_provider_cij.hooks.running import run_anywhere

        try:
            newest = run_anywhere(self._newest, lambda: None)
        except CijError as error:
            if error.permanent:
                raise
            self.log.warning("%s could not be read, checking again: %s", self.interaction_table, error)
            return PokeReturnValue(is_done=False)
        wanted = self.fresher_than
        since: Any = datetime.now(UTC) - wanted if isinstance(wanted, timedelta) else wanted
        found, table = newest.isoformat() if newest else None, self.interaction_table
        self.log.info("The newest row of %s is of %s, wanted is %s or later", table, found, since.isoformat())
        done = newest is not None and newest >= since
        return PokeReturnValue(is_done=done, xcom_value={"table": table, "newest": found} if done else None)

    async def _newest(self) -> datetime | None:
        from airflow_provider_cij.api.timestamps import parse_utc
        from airflow_provider_cij.sources import FromSql

        table = ".".join(f'"{part}"' for part in self.interaction_table.split("."))
        sql = f'SELECT max("{self.timestamp_column}") AS newest FROM {table}'  # noqa: S608 - names, checked above
        rows: Any = FromSql(sql, self.sql_conn_id).rows(None)  # type: ignore[arg-type]  # it needs no client
        async with aclosing(rows):
            async for _, (row,) in rows:
                value = row["newest"]
                if value is None:
                    return None
                moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
                return parse_utc(self.timestamp_column, moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        return None
