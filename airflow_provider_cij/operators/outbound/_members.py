"""Members of outbound segments, behind ``operators.outbound``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._base import log_group
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable
from airflow_provider_cij.operators._member_list import MemberListOperator, Progress, check_list_paths, read_list
from airflow_provider_cij.operators.outbound._base import OutboundSegmentTask
from airflow_provider_cij.sources import Source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.members.id_list import MemberReport
    from airflow_provider_cij.api.outbound.models import OutboundSegment


class CijOutboundUpdateSegmentMembersOperator(MemberListOperator):
    """Add contacts to a static outbound segment, or remove them: those of a list, or those that a query finds.

    A list is read and checked whole before the first call, and sent 20,000 ids a call. The service makes the changes
    after its response: wait with ``CijOutboundMemberOperationsSensor``. Idempotent.

    With business unit scoping, a contact that the segment's owner may not access makes the segment hang forever, so
    add no contacts of other business units. The log warns of it where the segment may be scoped.

    Source: "Basic operations on segments using API in outbound marketing", section "Add/Remove contacts to static
    segments".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param operation: ``"add"`` (default) or ``"remove"``
    :param members: contact ids: a list, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``; the
        service ignores ids that no contact has. Default None, ``query`` is given
    :param query: instead of ``members``: a query for the contacts to add or remove, such as
        ``PROFILE(contact).FILTER(…)``. Default None, ``members`` are given
    :param match_on: a column of the contact, such as ``emailaddress1``, when the list holds its values instead of ids.
        Default None, the list holds ids
    :param max_invalid: how many rows may hold no id, or no value to match: a number of rows, a share of them such as
        ``"5%"``, or None for any number. Default 0. A NULL, None or NaN is counted
        as ``invalid``, but not against this bound. More fail before anything is sent
    :param max_not_found: how many different values of ``match_on`` may match nobody, in the same way. Default 0
    :param on_empty: what a list without a row does: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines. Default
        None, no file
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id, or no value to match: line, reason
        and value. Written also when more than ``max_invalid`` fail the task. Default None, no file
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the member report, in which ``added`` or ``removed`` counts who was sent; with ``query``
        ``{"segment_id", "operation"}``
    :raises AirflowFailException: no such segment, file or column; it is not static; or the service refuses
    """

    outbound = True
    fixed = ("group",)

    def __init__(
        self,
        *,
        segment_id: str,
        operation: Literal["add", "remove"] = "add",
        members: Iterable[object] | Source | None = None,
        query: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(segment_id=segment_id, group="", members=() if members is None else members, **kwargs)
        self.operation = operation
        self.query = query
        self.by_members = members is not None

    def _execute(self, context: Context) -> dict[str, Any]:
        """Change them."""
        if (self.query is not None) == self.by_members:
            raise CijInputError("Give either members or query.")
        if self.query is not None and not self.query.strip():
            raise CijInputError("The query for the members is empty.", hint="Nothing was sent.")
        check_list_paths(self)
        source = checked(self.members)
        if self.query is not None:
            query = self.query

            async def by_query(cij: Cij) -> None:
                segment = await self._outbound(cij, context)
                await cij.outbound.members.update_by_query(segment, self.operation, query)

            self.call(by_query)
            self.log.info("The service was asked to %s the contacts that the query finds", self.operation)
            return {"segment_id": self.segment_id, "operation": self.operation}

        async def by_ids(cij: Cij) -> MemberReport:
            segment = await self._outbound(cij, context)
            intake = await read_list(self, cij, source, "contact")
            with log_group(self.log, f"Send {len(intake.ids):,} members to {self.operation}"):
                batches = await cij.outbound.members.update(segment, self.operation, intake.ids, Progress(self.log))
            done = "added" if self.operation == "add" else "removed"
            return intake.report(**{done: len(intake.ids), "batches": batches})

        report = self.call(by_ids)
        self.log.info("%s", ", ".join(f"{name} {count:,}" for name, count in report.as_dict().items()))
        return report.as_dict()

    async def _outbound(self, cij: Cij, context: Context) -> OutboundSegment:
        segment = await cij.outbound.segments.get(self.segment_id)
        self.show_link(context, segment.summary(), segment.name)
        return segment


class CijOutboundExportSegmentMembersOperator(OutboundSegmentTask):
    """Write the members of an outbound segment to a CSV or Parquet file.

    The file has one column, ``contactid``. It appears when it is whole, in place of an older one.

    Source: "Basic operations on segments using API in outbound marketing", section "Retrieve segment members". What the
    service answers is documented nowhere; a list that can't be understood, or is cut short, fails the task.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet``
    :param how: ``"query"`` (default), which the document recommends, or ``"fetchxml"``, which it calls deprecated and
        which ends at 50,000 contacts
    :param max_missing: how many members the list may lack against the segment's count as of its last evaluation: a
        number, a share of the count such as ``"1%"``, or None for any number. Default 0. A shorter list is read again
        for half a minute, then the task fails and the older file stays
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"count", "path"}``
    :raises AirflowFailException: no such segment or folder
    :raises CijIncompleteError: the service gave a part of the list; nothing was written
    """

    def __init__(
        self,
        *,
        segment_id: str,
        path: str,
        how: Literal["query", "fetchxml"] = "query",
        max_missing: int | float | str | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(segment_id=segment_id, **kwargs)
        self.path = path
        self.how = how
        self.max_missing = max_missing

    def _execute(self, context: Context) -> dict[str, Any]:
        """List and write."""
        from airflow_provider_cij.operators._exporting import EvaluationState, export

        target = str(self.path or "")
        check_writable(target)
        bound = bound_of("max_missing", self.max_missing)

        async def work(cij: Cij) -> int:
            segment = await cij.outbound.segments.get(self.segment_id)
            self.show_link(context, segment.summary(), segment.name)
            # Before it was first evaluated the service knows of no members.
            level = INFO if segment.status_name in ("live", "stopped") else WARNING
            self.log.log(level, "Outbound segment %r (%s) is %s", segment.name, segment.row_id, segment.status_name)

            async def read() -> EvaluationState:
                row = await cij.outbound.segments.get(segment.row_id)
                return EvaluationState(row.member_count, (row.status_name,))

            def pages() -> AsyncIterator[list[str]]:
                return cij.outbound.members.of_segment(segment, self.how)

            return await export(self.log, target, "contactid", pages, read, bound)

        with log_group(self.log, f"Export to {target}"):
            count = self.call(work)
        self.log.info("Wrote %s members to %s", f"{count:,}", target)
        return {"count": count, "path": target}
