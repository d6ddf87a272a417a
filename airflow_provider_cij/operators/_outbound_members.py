"""Members of outbound segments, behind ``operators.outbound``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.files import check_writable, writing
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._lists import MemberListOperator, Progress, check_not_found_path, read_list
from airflow_provider_cij.operators._outbound import OutboundSegmentTask
from airflow_provider_cij.sources import Source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.models import MemberReport
    from airflow_provider_cij.api.outbound_models import OutboundSegment
    from airflow_provider_cij.hooks.cij import Cij


class CijOutboundUpdateSegmentMembersOperator(MemberListOperator):
    """Adds contacts to a static outbound segment, or removes them: those of a list, or those that a query finds.

    A list is read and checked whole before the first call, and sent 20,000 ids a call. The service makes the changes
    behind its reply: wait with ``CijOutboundMemberOperationsSensor``. Doing it twice is as good as once.

    With business unit scoping, a contact that the segment's owner may not access makes the segment hang for good, so
    add no contacts of other business units. The log warns of it where the segment may be scoped.

    Source: "Basic operations on segments using API in outbound marketing", section "Add/Remove contacts to static
    segments".

    :param segment_id: the segment (templated)
    :param operation: ``"add"`` or ``"remove"``
    :param members: contact ids: a list, another task's output, ``FromFile``, ``FromSql`` or ``FromDataverse``; the
        service ignores ids of nobody (templated)
    :param query: instead of ``members``: whom to add or remove, such as ``PROFILE(contact).FILTER(…)`` (templated)
    :param match_on: a column of the contact, such as ``emailaddress1``, when the list holds its values instead of ids
        (templated)
    :param max_invalid: fail, before anything is sent, when more rows than this hold no id; None for any number
    :param not_found_path: a CSV or Parquet file to write the values to that match nobody, with their lines (templated)
    :param cij_conn_id: the Airflow connection
    :return: the member report, in which ``added`` or ``removed`` counts who was sent; with ``query``
        ``{"segment_id", "operation"}``
    :raises AirflowFailException: no such segment, file or column; it is not static; or the service refuses
    """

    template_fields: Sequence[str] = ("segment_id", "members", "query", "match_on", "not_found_path")

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

    def execute(self, context: Context) -> dict[str, Any]:
        """Change them."""
        with failing_for_good():
            if (self.query is not None) == self.by_members:
                raise CijInputError("Give either members or query.")
            check_not_found_path(self)
            source = checked(self.members)
        if self.query is not None:
            query = self.query

            async def by_query(cij: Cij) -> None:
                segment = await self._outbound(cij, context)
                await cij.outbound.members.update_by_query(segment, self.operation, query)

            self.call(by_query)
            self.log.info("The service was asked to %s whom the query finds", self.operation)
            return {"segment_id": self.segment_id, "operation": self.operation}

        async def by_ids(cij: Cij) -> MemberReport:
            segment = await self._outbound(cij, context)
            intake = await read_list(self, cij, source, "contact")
            self._check(intake, 1)
            with log_group(self.log, f"Send {len(intake.ids)} members to {self.operation}"):
                batches = await cij.outbound.members.update(segment, self.operation, intake.ids, Progress(self.log))
            done = "added" if self.operation == "add" else "removed"
            return intake.report(**{done: len(intake.ids), "batches": batches})

        report = self.call(by_ids)
        self.log.info("%s", ", ".join(f"{name} {count}" for name, count in report.as_dict().items()))
        return report.as_dict()

    async def _outbound(self, cij: Cij, context: Context) -> OutboundSegment:
        segment = await cij.outbound.segments.get(self.segment_id)
        url = self.hook.row_url("msdyncrm_segment", segment.row_id)
        CijSegmentLink().show(self, context, url, segment.name)
        return segment


class CijOutboundExportSegmentMembersOperator(OutboundSegmentTask):
    """Writes the members of an outbound segment to a CSV or Parquet file.

    The file has one column, ``contactid``. It appears when it is whole, in place of an older one.

    Source: "Basic operations on segments using API in outbound marketing", section "Retrieve segment members". What the
    service answers is documented nowhere; a list that can't be understood, or is cut short, fails the task.

    :param segment_id: the segment (templated)
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet`` (templated)
    :param how: ``"query"``, which the document recommends, or ``"fetchxml"``, which it calls deprecated and which ends
        at 50,000 contacts
    :param cij_conn_id: the Airflow connection
    :return: ``{"count", "path"}``
    :raises AirflowFailException: no such segment or folder
    :raises CijIncompleteError: the service gave a part of the list; nothing was written
    """

    template_fields: Sequence[str] = ("segment_id", "path")

    def __init__(
        self, *, segment_id: str, path: str, how: Literal["query", "fetchxml"] = "query", **kwargs: Any
    ) -> None:
        super().__init__(segment_id=segment_id, **kwargs)
        self.path = path
        self.how = how

    def execute(self, context: Context) -> dict[str, Any]:
        """List and write."""
        target = str(self.path)
        with failing_for_good():
            check_writable(target)

        async def export(cij: Cij) -> int:
            segment = await cij.outbound.segments.get(self.segment_id)
            self._show(context, segment.row_id, segment.name)
            # Before it was first evaluated the service knows of no members.
            level = INFO if segment.status_name in ("live", "stopped") else WARNING
            self.log.log(level, "Outbound segment %r is %s", segment.name, segment.status_name)
            count = 0
            with writing(target, ("contactid",)) as file:
                async for page in cij.outbound.members.of_segment(segment, self.how):
                    file.write(page)
                    count += len(page)
                    self.log.info("%d members", count)
            return count

        with log_group(self.log, f"Export to {target}"):
            count = self.call(export)
        self.log.info("Wrote %d members to %s", count, target)
        return {"count": count, "path": target}
