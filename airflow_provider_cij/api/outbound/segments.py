"""Outbound segments: create, update, validate. What they share with journeys is in ``outbound_rows``.

Source: "Basic operations on segments using API in outbound marketing". It names the query's column in two ways; the
table reference knows msdyncrm_segmentquery only, so that is what is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.outbound.models import (
    JOURNEY,
    MEMBERS,
    SEGMENT,
    SEGMENT_TYPES,
    OutboundSegment,
    OutboundStatus,
    removal_explained,
)
from airflow_provider_cij.api.outbound.rows import CreatedOutbound, OutboundRows
from airflow_provider_cij.api.segments.spec import IfExists, check_name, check_query, id_of
from airflow_provider_cij.api.validation import ValidationIssue, ValidationResult
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijConflictError, CijInputError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# Table reference of msdyncrm_segment: the most characters of msdyncrm_segmentmemberids.
_LONGEST_MEMBERS = 1_000_000


@dataclass(frozen=True)
class OutboundSegmentSpec:
    """What an outbound segment is created or updated to.

    :param key: its id derives from it
    :param display_name: what people see, up to 100 characters
    :param segment_type: ``static``, ``dynamic`` or ``compound``
    :param query: the query of a dynamic one, or what a compound one is made of
    :param member_ids: contacts that a new static one begins with
    :param description: what the segment is for, as people read it
    """

    key: str
    display_name: str
    segment_type: str = "static"
    query: str = ""
    member_ids: tuple[str, ...] = ()
    description: str | None = None

    @property
    def segment_id(self) -> str:
        """The id of the row."""
        return id_of(f"outbound segment:{self.key}")


def check(spec: OutboundSegmentSpec) -> None:
    """Check what the service would refuse.

    :raises CijInputError: naming what is wrong
    """
    name = f"The outbound segment {spec.display_name!r}"
    if not isinstance(spec.key, str) or not spec.key.strip():
        raise CijInputError(f"{name} has an empty key.")
    check_name(name, spec.display_name)
    if spec.segment_type not in SEGMENT_TYPES:
        raise CijInputError(f"{name}: segment_type is {spec.segment_type!r}.", hint=f"Use {', '.join(SEGMENT_TYPES)}.")
    static = spec.segment_type == "static"
    if static and spec.query.strip():
        raise CijInputError(f"{name} is static and has a query.", hint="Add members by query, or make it dynamic.")
    if not static and not spec.query.strip():
        raise CijInputError(f"{name} is {spec.segment_type} and has no query.")
    if not static and spec.member_ids:
        raise CijInputError(f"{name} is {spec.segment_type}: it can't be given members.", hint="Make it static.")
    check_query(name, spec.query, MEMBERS)
    if len(member_ids_text(spec.member_ids)) > _LONGEST_MEMBERS:
        raise CijInputError(
            f"{name} has {len(spec.member_ids):,} members, more than fit into its row.",
            hint="Create it without, and add them with CijOutboundUpdateSegmentMembersOperator.",
        )


def member_ids_text(member_ids: Sequence[str]) -> str:
    """Write members as a row holds them: JSON in a string, each id with the prefix ``crm``."""
    return json.dumps(
        [f"crm{normalize_guid(member_id, 'a member')}" for member_id in member_ids], separators=(",", ":")
    )


def segment_row(spec: OutboundSegmentSpec) -> dict[str, Any]:
    """Return the columns of the row, without its id, status and first members."""
    row: dict[str, Any] = {
        "msdyncrm_segmentname": spec.display_name,
        "msdyncrm_segmenttype": SEGMENT_TYPES[spec.segment_type],
    }
    if spec.query.strip():
        row["msdyncrm_segmentquery"] = spec.query.strip()
    if spec.description is not None:
        row["msdyncrm_description"] = spec.description
    return row


def initial_values(spec: OutboundSegmentSpec, *, publish: bool) -> dict[str, Any]:
    """Return the columns that only a new row is given."""
    status = OutboundStatus.GOING_LIVE if publish else OutboundStatus.DRAFT
    first = {"msdyncrm_segmentmemberids": member_ids_text(spec.member_ids)} if spec.member_ids else {}
    return {**first, "statuscode": int(status)}


def validation_of(answer: Mapping[str, Any]) -> ValidationResult:
    """Read the response of msdyncrm_ValidateSegment: JSON in a string, an empty list for a valid segment.

    :param answer: the response
    :raises CijReplyError: there is no list in it: never "valid"
    """
    text = answer.get("ValidationResult")
    try:
        entries = json.loads(text) if isinstance(text, str) else text
        if not isinstance(entries, list):
            raise TypeError("it is no list")
        rows = [{name.lower(): str(value or "") for name, value in entry.items()} for entry in entries]
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise CijReplyError(f"The result of the validation can't be read: {wrong_with(error)}.") from None
    # The service speaks of the column msdyncrm_query as well as of msdyncrm_segmentquery, and gives no message.
    columns = [(row.get("errorcode") or "unnamed", row.get("fieldname") or "") for row in rows]
    issues = tuple(ValidationIssue(code, where=column, details={"field": column}) for code, column in columns)
    return ValidationResult(not issues, issues)


class OutboundSegments(OutboundRows[OutboundSegment]):
    """The verbs on outbound segments, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        super().__init__(client, SEGMENT, OutboundSegment.of)

    async def create(
        self, spec: OutboundSegmentSpec, if_exists: IfExists = "update", *, publish: bool = False
    ) -> CreatedOutbound:
        """Create a segment, or update what differs from ``spec``.

        :param spec: what is wanted; ``member_ids`` are for a new one only
        :param if_exists: ``update`` what differs, ``reuse`` it as it is, or ``fail``
        :param publish: True makes it in Going live, where the service validates it; one that is there goes live when it
            was changed or is not live. Default False
        :return: what was created and changed
        :raises CijInputError: ``spec`` can't be right
        :raises CijConflictError: it exists and must not, is of another type, or another client changes it
        """
        check(spec)
        row_id = spec.segment_id
        made, changed = await self._bring(row_id, segment_row(spec), if_exists, initial_values(spec, publish=publish))
        segment = await self.get(row_id)
        if publish and not made and if_exists == "update" and (changed or segment.status != OutboundStatus.LIVE):
            segment = await self.publish(segment)
        return CreatedOutbound(row_id, made, bool(changed), segment.status_name, changed)

    def _check_same_kind(self, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any]) -> None:
        if there.get("msdyncrm_segmenttype") != row["msdyncrm_segmenttype"]:
            raise CijConflictError(
                f"Outbound segment {row_id} is of another type.", hint="Give the new segment a key of its own."
            )

    async def update(
        self,
        segment_id: str,
        *,
        display_name: str | None = None,
        query: str | None = None,
        description: str | None = None,
    ) -> CreatedOutbound:
        """Change what is given of a segment that exists; the rest stays, and its status as well.

        :param segment_id: the segment
        :param display_name: what people see. Default None, it stays as it is
        :param query: the query of a dynamic or compound one. Default None, it stays as it is
        :param description: what the segment is for. Default None, it stays as it is
        :return: what was changed
        :raises CijInputError: a value can't be right
        :raises CijNotFoundError: there is no such segment
        :raises CijConflictError: another client changes it
        """
        name, row = f"Outbound segment {segment_id}", dict[str, Any]()
        if display_name is not None:
            check_name(name, display_name)
            row["msdyncrm_segmentname"] = display_name
        if query is not None:
            check_query(name, query, MEMBERS)
            if (await self.get(segment_id)).segment_type == SEGMENT_TYPES["static"]:
                raise CijInputError(f"{name} is static: it has no query.", hint="Add members by query instead.")
            if not query.strip():
                raise CijInputError(f"{name} would have no query.")
            row["msdyncrm_segmentquery"] = query.strip()
        if description is not None:
            row["msdyncrm_description"] = description
        return await self._change(segment_id, row)

    async def validate(self, spec: OutboundSegmentSpec, *, publish: bool = False) -> ValidationResult:
        """Ask the service whether a segment would be right; nothing is written.

        :param spec: what it would be
        :param publish: True when it would be made in Going live; default False
        :return: its errors; the service gives no warnings
        :raises CijInputError: ``spec`` can't be right
        """
        body = {**segment_row(spec), **initial_values(spec, publish=publish)}
        with removal_explained():
            return validation_of(await self._client.action("msdyncrm_ValidateSegment", body, repeatable=True))

    async def _users(self, row_id: str) -> str:
        where = f"_msdyncrm_suppressionsegmentid_value eq {normalize_guid(row_id)}"
        path = query(JOURNEY.table.entity_set, select=("msdyncrm_name",), where=where)
        with removal_explained():
            rows = await self._client.all_rows(path)
        names = ", ".join(repr(str(row.get("msdyncrm_name"))) for row in rows)
        return f"Journeys that suppress it: {names}. Change or delete them first." if names else ""
