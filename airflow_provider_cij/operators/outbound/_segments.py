"""Outbound segments, behind ``operators.outbound``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_cij._arguments import filled, words
from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.errors import CijOutboundInvalidError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._keys import Keyed, key_of
from airflow_provider_cij.operators._member_list import MembersArgument, check_bounds, read_list
from airflow_provider_cij.operators.outbound._base import (
    ChangeStatusMixin,
    DeleteMixin,
    OutboundSegmentTask,
    made,
)
from airflow_provider_cij.sources import Source, checked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.outbound.models import SegmentType
    from airflow_provider_cij.api.outbound.rows import CreatedOutbound
    from airflow_provider_cij.api.segments.spec import IfExists


class CijOutboundCreateSegmentOperator(Keyed, MembersArgument):
    """Create an outbound segment, or update the one with the same key.

    Its id derives from ``key``: each run and each retry finds the same segment. What agrees already is not written.

    Microsoft removed outbound marketing in 2026: an organisation without it fails the task, in words that say so.

    Source: "Basic operations on segments using API in outbound marketing".

    :param display_name: what people see, up to 100 characters
    :param segment_type: ``static`` (default), ``dynamic`` or ``compound``
    :param query: the query of a dynamic one, such as ``PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))``, or what a
        compound one is made of, such as ``SEGMENT(a) UNION SEGMENT(b)``. Default ``""``, none
    :param members: contact ids that a new static one begins with: a list, another task's output, or a source, some
        20,000 at the most; one that is there keeps its members. Default None, no list
    :param max_invalid: how many rows may hold no id: a number of rows, a share of them such as ``"5%"``, or None for
        any number. Default 0. A NULL, None or NaN says itself that there is none: it is counted, and does not count
        here. More fail before anything is sent
    :param rejects_path: a CSV or Parquet file to write the rows to that hold no id: line, reason and value. Written
        also when more than ``max_invalid`` fail the task. Default None, no file
    :param on_empty: what ``members`` without a row do: ``"fail"`` (default), ``"skip"`` the task, or ``"ok"``
    :param key: names the segment; by default ``dag_id.task_id``. A mapped task must give one for each entry
    :param if_exists: ``"update"`` (default) what differs, ``"reuse"`` it as it is, or ``"fail"``
    :param description: what the segment is for, as people read it. Default None, not written
    :param publish: True makes it in Going live, where the service validates it, instead of as a draft; one that is
        there goes live when it was changed or is not live. Default False
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "created": bool, "changed": bool, "status"}``
    :raises AirflowFailException: the segment can't be right, or the service refuses it, with its words
    """

    # FromSql("audience.sql", …) reads the file audience.sql.
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"query": "sql"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijSegmentLink(),)

    # The list holds ids alone.
    match_on: str | None = None
    max_not_found = 0
    not_found_path: str | None = None

    def __init__(
        self,
        *,
        display_name: str,
        segment_type: SegmentType = "static",
        query: str = "",
        members: Iterable[object] | Source | None = None,
        max_invalid: int | float | str | None = 0,
        rejects_path: str | None = None,
        on_empty: str = "fail",
        if_exists: IfExists = "update",
        description: str | None = None,
        publish: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.segment_type = segment_type
        self.query = query
        self.members = members
        self.max_invalid = max_invalid
        self.rejects_path = rejects_path
        self.on_empty = on_empty
        self.if_exists = if_exists
        self.description = description
        self.publish = publish

    def _execute(self, context: Context) -> dict[str, Any]:
        """Create the segment, or update it."""
        from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec, check

        key = key_of(self, context)
        source = None if self.members is None else checked(self.members)
        check_bounds(self)

        async def member_ids(cij: Cij) -> tuple[str, ...]:
            if source is None:
                return ()
            with (await read_list(self, cij, source, "contact")).ids as ids:
                return tuple(member_id for batch in ids.batches(1000) for member_id in batch)

        async def create(cij: Cij) -> CreatedOutbound:
            spec = OutboundSegmentSpec(
                key=key,
                display_name=self.display_name,
                segment_type=self.segment_type,
                query=self.query,
                member_ids=await member_ids(cij),
                description=self.description,
            )
            check(spec)
            url = self.hook.row_url("msdyncrm_segment", spec.segment_id)
            CijSegmentLink().show(self, context, url, spec.display_name)
            return await cij.outbound.segments.create(spec, self.if_exists, publish=self.publish)

        with log_group(self.log, f"Create outbound segment {self.display_name!r}"):
            created = self.call(create)
        context["ti"].xcom_push(key="segment_id", value=created.row_id)
        return made(created, "segment", self.log)


class CijOutboundUpdateSegmentOperator(OutboundSegmentTask):
    """Change what is given of an outbound segment, and leave the rest. Its status stays: publish it afterwards.

    Nothing is written where nothing differs.

    Source: "Basic operations on segments using API in outbound marketing".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param display_name: what people see, up to 100 characters. Default None, it stays as it is
    :param query: of a dynamic or compound one. Default None, it stays as it is
    :param description: what the segment is for, as people read it. Default None, it stays as it is
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "created": False, "changed": bool, "status", "changes"}``
    :raises AirflowFailException: there is no such segment, a value can't be right, or the service refuses it
    """

    template_fields_renderers = {"query": "sql"}  # noqa: RUF012  # Airflow's own annotation

    def __init__(
        self,
        *,
        display_name: str | None = None,
        query: str | None = None,
        description: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.query = query
        self.description = description

    def _execute(self, context: Context) -> dict[str, Any]:
        """Update the segment."""
        if self.display_name is not None:
            filled(display_name=self.display_name)

        async def update(cij: Cij) -> CreatedOutbound:
            segment = await cij.outbound.segments.get(self.segment_id)
            self._show(context, segment.summary(), segment.name)
            return await cij.outbound.segments.update(
                segment.row_id, display_name=self.display_name, query=self.query, description=self.description
            )

        return made(self.call(update), "segment", self.log)


class CijOutboundPublishSegmentOperator(ChangeStatusMixin, OutboundSegmentTask):
    """Set an outbound segment going live, and wait until it is live.

    A status from which that is not possible is refused before anything is sent, naming those that are.

    Source: "Basic operations on segments using API in outbound marketing".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True. ``wait_until_live`` is its
        former name
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the service finds an error in it, or it ended in Error
    :raises CijTimeoutError: it is not live in time
    """


class CijOutboundStopSegmentOperator(ChangeStatusMixin, OutboundSegmentTask):
    """Stop a live outbound segment, and wait until it is stopped.

    Only Live and Error can be stopped; a draft is refused before anything is sent.

    Source: "Basic operations on segments using API in outbound marketing".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True. ``wait_until_stopped`` is
        its former name
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: it can't be stopped
    :raises CijTimeoutError: it is not stopped in time
    """

    publishes = False


class CijOutboundDeleteSegmentOperator(DeleteMixin, OutboundSegmentTask):
    """Delete an outbound segment.

    Source: "Basic operations on segments using API in outbound marketing".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param missing_ok: False fails when there is nothing to delete; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "deleted": bool}``; ``deleted`` is False when there was nothing to delete
    :raises AirflowFailException: journeys suppress it; the error names them
    """


class CijOutboundValidateSegmentOperator(CijOperator):
    """Ask the service whether an outbound segment would be right; nothing is written.

    Source: "Basic operations on segments using API in outbound marketing", section "Validating segments".

    :param display_name: what people would see
    :param segment_type: ``static``, ``dynamic`` (default) or ``compound``
    :param query: of a dynamic or compound one. Default ``""``, none
    :param publish: True (default) asks for a segment in Going live, False for a draft
    :param fail_on: ``"error"`` (default) fails the task when there is one, ``"never"`` does not
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"valid": bool, "errors": [{"code", "message", "where", "field"}], "warnings": []}``; ``where`` is the
        column, as is ``field``; the service gives no ``message`` and no warnings. In XCom as ``validation`` too, before
        the task fails
    :raises AirflowFailException: it has errors; they are in the message and in the log
    """

    template_fields_renderers = {"query": "sql"}  # noqa: RUF012  # Airflow's own annotation

    readers: ClassVar = {"fail_on": words("error", "never")}

    def __init__(
        self,
        *,
        display_name: str,
        segment_type: SegmentType = "dynamic",
        query: str = "",
        publish: bool = True,
        fail_on: Literal["error", "never"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.segment_type = segment_type
        self.query = query
        self.publish = publish
        self.fail_on = fail_on

    def _execute(self, context: Context) -> dict[str, Any]:
        """Validate it."""
        from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec

        spec = OutboundSegmentSpec(f"{self.dag_id}.{self.task_id}", self.display_name, self.segment_type, self.query)
        validation = self.call(lambda cij: cij.outbound.segments.validate(spec, publish=self.publish))
        for issue in validation.errors:
            self.log.warning("Error: %s in %s", issue.code, issue.where)
        result = validation.as_dict()
        context["ti"].xcom_push(key="validation", value=result)
        if validation.fails(self.fail_on):
            said = ", ".join(f"{issue.code} in {issue.where}" for issue in validation.errors)
            raise CijOutboundInvalidError(f"The outbound segment {self.display_name!r} is not valid: {said}.")
        return result
