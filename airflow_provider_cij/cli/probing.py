"""Sends the probe's requests to an organisation, and creates the rows that the probes need."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.organisation import is_listed
from airflow_provider_cij.cli.outcome import NotTriedError, Outcome, members_in, outcome_of
from airflow_provider_cij.cli.own_rows import CONTACTS, DEFINITIONS, KEYS, PREFIX, SEGMENTS, OwnRows
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.errors import CijError, CijThrottledError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

LIVE = (1, 7)
"""Statuses of a segment that is live."""

_IN_PROGRESS = (2, 5, 6, 8)
_DRAFT = 723270001
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class OwnSegment:
    """A segment that the probe created.

    :param segment_id: the id of its row
    :param definition_id: the id of its definition
    :param group_id: the id of its group of static members
    """

    segment_id: str
    definition_id: str
    group_id: str


class Organisation:
    """The organisation that is probed.

    :param client: an open client
    :param own: the record of the probe's rows; None, nothing may be written
    :param patience: seconds to wait for a segment to go live or to stop
    """

    def __init__(self, client: DataverseClient, own: OwnRows | None, patience: float) -> None:
        self.client = client
        self.writes = own is not None
        self.name = f"{PREFIX}{uuid.uuid4().hex[:8]}"
        self.publish_seconds: list[float] = []
        self._own = own
        self._patience = patience
        self._contacts: list[str] = []
        self._live: OwnSegment | None = None
        self._takes_definition: bool | None = None
        self._shown_only: bool | None = None

    async def attempt(self, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> Outcome:
        """Send a request, and return its result.

        :param method: the HTTP method
        :param path: relative to the Web API's root
        :param body: the JSON to send; default None, no body
        :param headers: further headers
        :raises NotTriedError: there was no response, or it depends on roles or load
        """
        if method == "PATCH":
            headers = {"If-Match": "*", **headers}
        try:
            response = await self.client.request(method, path, body, repeatable=method != "POST", **headers)
        except CijThrottledError:
            raise NotTriedError("the service limits requests at present") from None
        except CijError as error:
            return outcome_of(error)
        text = response.body.decode("utf-8", "replace")
        try:
            parsed = json.loads(text) if text else None
        except (ValueError, RecursionError):
            parsed = None
        made = re.search(r"\(([0-9a-fA-F-]{36})\)\s*$", response.headers.get("odata-entityid", ""))
        return Outcome(response.status, "", parsed, text, made[1].lower() if made else "")

    async def call(self, action: str, inputs: Mapping[str, Any]) -> Outcome:
        """Call an action.

        :param action: the action's unique name
        :param inputs: the action's inputs
        :raises NotTriedError: the organisation has no such action
        """
        outcome = await self.attempt("POST", action, inputs)
        if outcome.missing:
            raise NotTriedError(f"the organisation has no {action}")
        return outcome

    async def read(self, path: str) -> Any:
        """Return the JSON of a row or of rows.

        :param path: relative to the Web API's root
        :raises NotTriedError: it can't be read
        """
        outcome = await self.attempt("GET", path)
        if not outcome.ok or not isinstance(outcome.body, dict):
            raise NotTriedError(f"{_set_of(path)} can't be read ({outcome.word})")
        return outcome.body

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """Return rows.

        :param path: an entity set with query options
        :raises NotTriedError: they can't be read
        """
        value = (await self.read(path)).get("value")
        return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []

    async def has_action(self, name: str) -> bool:
        """Return whether the organisation has an action.

        An action that is not listed is called without inputs: one that exists refuses that.

        :param name: the unique name of an action that has a required input
        """
        if await is_listed(self.client, name):
            return True
        outcome = await self.attempt("POST", name, {})
        return not (outcome.missing or outcome.status == 404)

    async def make(self, entity_set: str, row: Mapping[str, Any], **headers: str) -> tuple[str, Outcome]:
        """Create a row, which is deleted at the end of the probe.

        :param entity_set: the row's entity set
        :param row: the row's columns without its id
        :param headers: further headers
        :return: the row's id, and the result of the request
        """
        if self._own is None:
            raise NotTriedError("it needs --write")
        row_id, key = str(uuid.uuid4()), KEYS[entity_set]
        self._own.note(entity_set, row_id)
        chosen = {} if self._shown_only and entity_set in (DEFINITIONS, SEGMENTS) else {key: row_id}
        outcome = await self.attempt("POST", entity_set, {**chosen, **row}, **headers)
        made = outcome.made or str(outcome.output(key) or row_id)
        if made != row_id:
            self._own.note(entity_set, made)
        return made, outcome

    def claim(self, entity_set: str, row_id: str) -> None:
        """Record a row that an action created, so that it is deleted.

        :param entity_set: the row's entity set
        :param row_id: the row's id
        """
        if self._own:
            self._own.note(entity_set, row_id)

    async def definition(self, groups: Iterable[str] = (), **columns: Any) -> tuple[str, Outcome]:
        """Create a segment definition with the documented columns.

        :param groups: ids of its static groups; default none
        :param columns: further columns
        :return: the row's id, and the result of the request
        """
        listed = [
            {"groupId": group, "includeType": "Include", "name": "probe", "inputType": "manualSelect"}
            for group in groups
        ]
        row = {
            "msdynmkt_segmentquery": "",
            "msdynmkt_staticlistmembers": json.dumps(listed),
            "msdynmkt_disablesegmentrefresh": True,
            "statecode": 0,
            "statuscode": _DRAFT,
        }
        if self._shown_only is None:
            # A service may accept the documented columns only, and assign ids itself.
            self._shown_only = False
            _, first = await self.make(DEFINITIONS, {"msdynmkt_name": self.name, **row})
            self._shown_only = not first.ok
        name = {} if self._shown_only else {"msdynmkt_name": self.name}
        return await self.make(DEFINITIONS, {**name, **row, **columns})

    async def segment_row(self, definition_id: str, **columns: Any) -> tuple[str, Outcome]:
        """Create the segment row of a definition with the documented columns.

        :param definition_id: the definition
        :param columns: further columns
        :return: the row's id, and the result of the request
        """
        row = {
            "msdynmkt_displayname": self.name,
            "msdynmkt_type": 11,
            "msdynmkt_source": 12,
            "msdynmkt_baseentitylogicalname": "contact",
            "msdynmkt_sourcesegmentuid": definition_id,
            "statecode": 1,
            "statuscode": 2,
        }
        return await self.make(SEGMENTS, {**row, **columns})

    async def segment(self, **columns: Any) -> OwnSegment:
        """Create a draft segment with one static group.

        :param columns: further columns of the definition
        :raises NotTriedError: it can't be created
        """
        group = str(uuid.uuid4())
        definition_id, outcome = await self.definition((group,), **columns)
        if outcome.ok:
            segment_id, outcome = await self.segment_row(definition_id)
        outcome.needed("a draft segment can't be created")
        return OwnSegment(segment_id, definition_id, group)

    async def action_id(self, own: OwnSegment) -> str:
        """Return the id of a segment that actions accept: its own, or that of its definition.

        :param own: the segment
        """
        if self._takes_definition is None:
            inputs = {"GroupId": own.group_id, "PageNo": 1, "PageSize": 1}
            taken = [
                (await self.attempt("POST", "msdynmkt_ListGroupMembers", {"SegmentId": row_id, **inputs})).ok
                for row_id in (own.segment_id, own.definition_id)
            ]
            self._takes_definition = taken == [False, True]
        return own.definition_id if self._takes_definition else own.segment_id

    async def on(self, verb: str, own: OwnSegment, ids: list[str], group_id: str = "") -> Outcome:
        """Add or remove static members.

        :param verb: ``Add`` or ``Remove``
        :param own: the segment
        :param ids: the members
        :param group_id: the group; default ``""``, the segment's group
        """
        inputs = {"SegmentId": await self.action_id(own), "GroupId": group_id or own.group_id, "EntityIds": ids}
        return await self.call(f"msdynmkt_{verb}StaticMembers", inputs)

    async def listed(self, own: OwnSegment, page: int = 1, group_id: str = "") -> Outcome:
        """Read a page of ten static members.

        :param own: the segment
        :param page: the page's number; default 1
        :param group_id: the group; default ``""``, the segment's group
        """
        inputs = {"SegmentId": await self.action_id(own), "GroupId": group_id or own.group_id}
        return await self.call("msdynmkt_ListGroupMembers", {**inputs, "PageNo": page, "PageSize": 10})

    async def members(self, own: OwnSegment) -> list[str]:
        """Return the static members of a segment.

        :param own: the segment
        :raises NotTriedError: they can't be read
        """
        return members_in(await self.listed(own), "Response", "entityIds")

    async def contacts(self, count: int) -> list[str]:
        """Return ids of contacts that the probe created, or of existing ones when none can be created.

        Contacts are only added to groups of the probe's own segments.

        :param count: the number of contacts
        :raises NotTriedError: there are fewer contacts
        """
        while len(self._contacts) < count:
            try:
                row_id, outcome = await self.make(CONTACTS, {"lastname": self.name})
            except NotTriedError:
                break
            if not outcome.ok:
                break
            self._contacts.append(row_id)
        if len(self._contacts) < count:
            known = await self.rows(query(CONTACTS, select=("contactid",), top=count))
            self._contacts = [str(row.get("contactid")).lower() for row in known]
        if len(self._contacts) < count:
            raise NotTriedError("no contact can be created, and there are not enough")
        return self._contacts[:count]

    async def publish(self, own: OwnSegment) -> Outcome:
        """Publish a segment that the probe created.

        :param own: the segment
        """
        return await self.call("msdynmkt_PublishSegmentDefinition", {"SegmentId": await self.action_id(own)})

    async def published(self, own: OwnSegment) -> int:
        """Publish a segment, wait for the end of its evaluation, and return its status.

        :param own: the segment
        :raises NotTriedError: it can't be published, or its evaluation does not end
        """
        (await self.publish(own)).needed("a segment can't be published")
        started = time.monotonic()
        status = await self.settled(own)
        self.publish_seconds.append(round(time.monotonic() - started, 1))
        return status

    async def live(self, **columns: Any) -> OwnSegment:
        """Create a live segment with one member.

        :param columns: further columns of the definition
        :raises NotTriedError: it does not go live
        """
        own = await self.segment(**columns)
        await self.on("Add", own, await self.contacts(1))
        status = await self.published(own)
        if status not in LIVE:
            raise NotTriedError(f"a segment did not go live: its status is {status}")
        return own

    async def shared_live(self) -> OwnSegment:
        """Return a live segment that no probe changes."""
        if self._live is None:
            self._live = await self.live()
        return self._live

    async def settled(self, own: OwnSegment, still: tuple[int, ...] = _IN_PROGRESS) -> int:
        """Wait until the status of a segment is final, and return it.

        :param own: the segment
        :param still: the statuses that are not final
        :raises NotTriedError: the status does not become final in time
        """
        path = query(row_path(SEGMENTS, own.segment_id), select=("statuscode",))
        deadline, pause = time.monotonic() + self._patience, 0.05
        while True:
            status = (await self.read(path)).get("statuscode")
            if isinstance(status, int) and status not in still:
                return status
            if time.monotonic() > deadline:
                self._patience = min(self._patience, _LONGEST_PAUSE)  # the next one would not settle either
                raise NotTriedError(f"a segment stayed in status {status}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def evaluations(self, own: OwnSegment) -> list[int]:
        """Return the statuses of a segment's evaluations.

        :param own: the segment
        """
        where = f"_msdynmkt_segmentdefinitionid_value eq {own.definition_id}"
        rows = await self.rows(query("msdynmkt_segmentexecutions", select=("statuscode",), where=where))
        return [row["statuscode"] for row in rows]

    async def status_of_definition(self, own: OwnSegment) -> int:
        """Return the status of a segment's definition.

        :param own: the segment
        """
        path = query(row_path(DEFINITIONS, own.definition_id), select=("statuscode",))
        return int((await self.read(path)).get("statuscode") or 0)


def _set_of(path: str) -> str:
    return re.split(r"[(?/]", path, maxsplit=1)[0]
