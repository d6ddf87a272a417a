"""Fill static groups of real-time segments, and write down who is in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from logging import INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_cij._task import failing_for_good, hook_of, log_group, run
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.sources import Source, as_source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.hooks.cij import Cij


class CijAddSegmentMembersOperator(BaseOperator):
    """Adds people to a static group of a segment; adding somebody twice is as good as once.

    The whole list is read and checked before the first call: a row without an id is counted and logged with its line,
    never sent. Members of the segment itself change with its next publish or refresh.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Add Static Segment Members"
    (1000 ids a call, 200 000 a group).

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param group: the group's name or id (templated)
    :param members: contact or lead ids: a list, another task's output, or ``FromFile(path, column)`` (templated)
    :param max_invalid: fail, before anything is sent, when more rows than this hold no id; None for any number
    :param cij_conn_id: the Airflow connection
    :return: the member report: ``read``, ``invalid``, ``duplicate``, ``not_found``, ``added``, ``removed``,
        ``unchanged``, ``batches``, ``resumed_from``
    :raises AirflowFailException: no such file, column or group; too many bad rows; too many ids for a group; or the
        service refuses
    """

    template_fields: Sequence[str] = ("segment_id", "group", "members")
    operator_extra_links = (CijSegmentLink(),)
    ui_color = "#d8e8f8"

    def __init__(
        self,
        *,
        segment_id: str,
        group: str,
        members: Iterable[object] | Source,
        max_invalid: int | None = None,
        cij_conn_id: str = "cij_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.group = group
        self.members = members
        self.max_invalid = max_invalid
        self.cij_conn_id = cij_conn_id

    @property
    def members(self) -> Any:
        """Where members come from."""
        return self._members

    @members.setter
    def members(self, members: Any) -> None:
        # A bare list would be rendered id by id, and shown in the UI: ids of people.
        self._members = as_source(members)

    def execute(self, context: Context) -> dict[str, int]:
        """Read, check, add."""
        from airflow_provider_cij.api.intake import Intake, take_in
        from airflow_provider_cij.api.members import check_room
        from airflow_provider_cij.api.models import MemberReport

        with failing_for_good():
            hook = hook_of(self)
            source = checked(self.members)

        async def add(cij: Cij) -> tuple[Intake, int]:
            with log_group(self.log, f"Read members from {source!r}"):
                intake = await take_in(source.chunks(cij.dataverse), self.max_invalid)
                self.log.info(
                    "%d rows: %d different ids, %d duplicates, %d without an id",
                    intake.read,
                    len(intake.ids),
                    intake.duplicate,
                    intake.invalid,
                )
                check_room(intake.ids)
                if not intake.read:
                    self.log.warning("There is not a single row: nobody will be added")
            with log_group(self.log, f"Add {len(intake.ids)} members to group {self.group!r}"):
                segment = await cij.segments.get(self.segment_id)
                CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id))
                group = await cij.segments.group(segment, self.group)
                self.log.info("Group %r of segment %r", group.name, segment.display_name)
                progress = _Progress(self.log)
                return intake, await cij.members.add(segment.segment_id, group.group_id, intake.ids, progress)

        intake, batches = run(hook, add)
        report = MemberReport(
            read=intake.read,
            invalid=intake.invalid,
            duplicate=intake.duplicate,
            added=len(intake.ids),
            batches=batches,
        )
        self.log.info("Added %d members in %d batches", report.added, report.batches)
        return report.as_dict()


class _Progress:
    """Logs a batch a second, and the last one."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int, sent: int) -> None:
        now = time.monotonic()
        if done < total and now - self._logged < 1 and done > 1:
            return
        self._logged = now
        rate = sent / max(now - self._started, 0.001)
        self._log.info("Batch %d of %d: %d members sent, %.0f a second", done, total, sent, rate)


class CijExportSegmentMembersOperator(BaseOperator):
    """Writes the members of a segment, or of one of its static groups, to a CSV file.

    The file has one column, named ``contactid`` or ``leadid``. It appears when it is whole, in place of an older one.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View members" (the segment as
    of its last evaluation) and "View Static Segment Members".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param path: the file to write, in a folder that exists (templated)
    :param group: a static group's name or id; by default the segment's members (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"count", "path"}``
    :raises AirflowFailException: no such segment, group or folder
    :raises CijIncompleteError: the service gave a part of the list; nothing was written
    """

    template_fields: Sequence[str] = ("segment_id", "path", "group")
    operator_extra_links = (CijSegmentLink(),)
    ui_color = "#d8e8f8"

    def __init__(
        self, *, segment_id: str, path: str, group: str | None = None, cij_conn_id: str = "cij_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.path = path
        self.group = group
        self.cij_conn_id = cij_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """List and write."""
        from airflow_provider_cij.api.models import LIVE

        with failing_for_good():
            target = _writable(str(self.path))

        async def export(cij: Cij) -> int:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id))
            if self.group is not None:
                group = await cij.segments.group(segment, self.group)
                pages = cij.members.of_group(segment.segment_id, group.group_id)
            else:
                level = INFO if segment.status in LIVE else WARNING
                said = "Segment %r is %s: these are the members of its last evaluation"
                self.log.log(level, said, segment.display_name, segment.status_name)
                pages = cij.members.of_segment(segment.segment_id)
            return await self._write(target, f"{segment.base_table or 'contact'}id", pages)

        with log_group(self.log, f"Export to {target}"):
            count = run(hook_of(self), export)
        self.log.info("Wrote %d members to %s", count, target)
        return {"count": count, "path": str(self.path)}

    async def _write(self, target: Path, header: str, pages: AsyncIterator[list[str]]) -> int:
        part = target.with_name(target.name + ".part")
        count = 0
        try:
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write(f"{header}\n")
                async for page in pages:
                    file.writelines(f"{member}\n" for member in page)
                    count += len(page)
                    self.log.info("%d members", count)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return count


def _writable(path: str) -> Path:
    if "://" in path:
        raise CijInputError(f"The path {path!r} is a URL.", hint="Export writes local files.")
    target = Path(path)
    if not target.parent.is_dir() or target.is_dir():
        raise CijInputError(f"The file {path!r} can't be written: there is no folder {str(target.parent)!r}.")
    return target
