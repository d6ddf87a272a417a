"""Real-time journeys: create from a template, validate, publish, read.

Sources: "Use the Create Journey From Template API"; the table reference of msdynmkt_journey. What
``msdynmkt_PublishJourneyV2`` takes is in no document: the organisation itself is asked.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.api.journeys.models import (
    JOURNEY_COLUMNS,
    SUPERSEDED,
    Journey,
    JourneyStatus,
    superseded,
    validation_of,
)
from airflow_provider_cij.api.journeys.spec import JourneySpec, body_of, check_times
from airflow_provider_cij.api.names import id_of_name
from airflow_provider_cij.api.row_sync import rows_by_id
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import LIVE
from airflow_provider_cij.api.validation import ValidationResult
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import literal, query, row_path
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijInputError,
    CijJourneyFailedError,
    CijJourneyInvalidError,
    CijReplyError,
    CijServerError,
    CijUnavailableError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

JOURNEYS, _ID = "msdynmkt_journeys", "msdynmkt_journeyid"
_CREATE, _VALIDATE, _PUBLISH = (
    f"msdynmkt_{name}" for name in ("CreateJourneyFromTemplate", "ValidateJourneyJson", "PublishJourneyV2")
)
_NEEDS = "Journeys by API came with the releases of autumn 2025: update the app Customer Insights - Journeys."
_TIMED_OUT, _DUPLICATE = "UnableToSaveJourneyEntityDueToTimeout", "DuplicateJourneyName"
# About others that a draft may wait for; the service lets a draft have them.
_NOT_YET = {"NotReadyToSendMessageState", "SegmentNotInLiveState", "EventNotInLiveState"}
# Seconds before each look for what may have been done after all.
LOOKS = (1.0, 5.0, 15.0)
# The service's clock need not be ours.
_SKEW = timedelta(minutes=5)
# Types of an input that takes a row (table reference of CustomAPIRequestParameter): Entity, EntityReference.
_ROWS = (3, 5)


class Journeys:
    """The verbs on journeys, over one open client."""

    _of = Journey.of

    def __init__(self, client: DataverseClient, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or Clock()

    async def get(self, journey_id: str, also: Sequence[str] = ()) -> Journey:
        """Read a journey.

        :param journey_id: its id
        :param also: more columns to read: ``models.FOR_VALIDATION``; default none
        :raises CijNotFoundError: there is none
        """
        path = row_path(JOURNEYS, normalize_guid(journey_id, "journey_id"))
        return Journey.of(await self._client.get(query(path, select=(*JOURNEY_COLUMNS, *also))))

    async def id_of_name(self, name: str) -> str:
        """Return the id of the only journey with a name; of an edited journey, that of its newest published version.

        :param name: the name that people see
        :raises CijNotFoundError: no journey has the name
        :raises CijInputError: several have it, such as a live version and the draft of the next one
        """
        return await id_of_name(
            self._client,
            name,
            what="journey",
            entity_set=JOURNEYS,
            id_column=_ID,
            name_column="msdynmkt_name",
            obsolete=superseded,
        )

    async def get_many(self, journey_ids: Sequence[str]) -> dict[str, Journey]:
        """Read many journeys with one request.

        :param journey_ids: some hundreds at the most
        :return: those that exist, by id
        :raises CijError: the service refuses, or is not there
        """
        return {journey_id: Journey.of(row) for journey_id, row in (await self.rows(journey_ids)).items()}

    async def rows(self, journey_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Read many journeys with one request, as the service returns them.

        :param journey_ids: some hundreds at the most
        :return: those that exist, by id
        :raises CijError: the service refuses, or is not there
        """
        return await rows_by_id(self._client, JOURNEYS, _ID, JOURNEY_COLUMNS, journey_ids)

    async def is_superseded(self, journey_id: str) -> bool:
        """Return whether a later version, which an edit of the live journey has made, has taken its place.

        :param journey_id: its id
        :raises CijNotFoundError: there is none
        """
        # Not every organisation has the column: it can't be selected.
        return superseded(await self._client.get(row_path(JOURNEYS, journey_id)))

    async def failure_reason(self, journey_id: str) -> str:
        """Read why its last publish failed; ``SUPERSEDED`` when a later version runs, ``""`` without a reason.

        :param journey_id: its id
        :return: the reason in the service's words
        """
        try:
            # Casing differs between organisations' documents, and older ones lack columns: the row is asked for whole.
            row = await self._client.get(row_path(JOURNEYS, journey_id))
        except CijError:
            return ""
        if superseded(row):
            return SUPERSEDED
        return next(
            (words_of(str(value)) for name, value in row.items() if name.lower() == "msdynmkt_errordetails" and value),
            "",
        )

    async def create(self, spec: JourneySpec, made_since: datetime) -> ValidationResult:
        """Create a journey, unless it was by an earlier try: journeys are unique by name.

        A journey with this name counts as made by an earlier try when this application user made it at or after
        ``made_since``; five minutes are allowed for clocks that differ. When an end is unclear (a lost reply, a 5xx,
        the service's own timeout) it is looked for, and never sent again here.

        :param spec: what it is made of
        :param made_since: when the first try may have begun
        :return: with the journey's id
        :raises CijInputError: the spec can't be right, or the audience is not live; nothing was sent
        :raises CijJourneyInvalidError: the service finds mistakes in it
        :raises CijConflictError: another journey has this name
        """
        body = body_of(spec)
        if earlier := await self._ours(spec, made_since):
            return await self._as_found(spec, earlier)
        check_times(spec, datetime.fromtimestamp(self._clock.now(), UTC))
        await self._check_audience(spec)
        made = await self._send(spec, body)
        if isinstance(made, ValidationResult):
            return made
        for pause in LOOKS:
            await self._clock.sleep(pause)
            if found := await self._ours(spec, made_since):
                return await self._as_found(spec, found)
        made.hint = f"{made.hint} There is no journey {spec.name!r} yet: a retry looks for it first.".strip()
        raise made

    async def _send(self, spec: JourneySpec, body: Mapping[str, Any]) -> ValidationResult | CijError:
        """Send the request; an error that is returned, not raised, leaves open whether the journey was created."""
        try:
            validation = validation_of(await self._client.action(_CREATE, body, repeatable=False))
        except CijUnavailableError as error:
            raise _too_old(error) from None
        except CijError as error:
            if not error.may_have_executed and not isinstance(error, CijReplyError):
                raise
            return error
        if validation.valid:
            unnamed = CijReplyError(f"Journey {spec.name!r} was created, but the answer has no id.")
            return validation if validation.journey_id else unnamed
        if validation.codes & {_TIMED_OUT, _DUPLICATE}:
            return CijServerError(f"Journey {spec.name!r} may have been created: {validation.in_words()}.")
        raise _invalid(spec, validation)

    async def _ours(self, spec: JourneySpec, made_since: datetime) -> dict[str, Any] | None:
        where = f"msdynmkt_name eq {literal(spec.name)}"
        rows = await self._client.rows(query(JOURNEYS, where=where))
        if not rows:
            return None
        # Each edit of a live journey makes a row of its own: only the newest version counts.
        rows = [row for row in rows if not superseded(row)] or rows
        me = str((await self._client.get("WhoAmI")).get("UserId")).lower()
        maker = rows[0].get("_createdby_value") or rows[0].get("_ownerid_value")
        if (
            len(rows) == 1
            and str(maker).lower() == me
            and _moment(rows[0].get("createdon")) >= (made_since - _SKEW).timestamp()
        ):
            return dict(rows[0])
        raise CijConflictError(
            f"There is a journey {spec.name!r} already ({rows[0].get(_ID)}), and this run did not make it.",
            code=_DUPLICATE,
            hint="Choose another name, with the run's date in it for example, or delete that journey if it is a draft.",
        )

    async def _as_found(self, spec: JourneySpec, row: Mapping[str, Any]) -> ValidationResult:
        journey = Journey.of(row)
        log.info("Journey %r was made by an earlier try: %s, %s", spec.name, journey.journey_id, journey.status_name)
        if spec.publish:
            await self.publish(journey)
            return ValidationResult(True, journey_id=journey.journey_id)
        try:
            validation = await self.validate(str(row.get("msdynmkt_journeyjson") or ""))
        except CijError as error:
            log.warning("Whether it is valid could not be asked: %s", error)
            return ValidationResult(None, journey_id=journey.journey_id)
        validation = ValidationResult(validation.valid, validation.issues, journey.journey_id)
        if validation.codes - _NOT_YET:
            raise _invalid(spec, validation)
        return validation

    async def _check_audience(self, spec: JourneySpec) -> None:
        if not spec.audience_segment_id:
            return
        segment = await Segments(self._client).get(spec.audience_segment_id)
        if segment.segment_id != normalize_guid(spec.audience_segment_id):
            raise CijInputError(
                f"audience_segment_id is the id of a definition; its segment is {segment.segment_id}: give that."
            )
        if segment.status not in LIVE:
            raise CijInputError(
                f"The audience, segment {segment.display_name!r}, is {segment.status_name}.",
                hint="A journey needs a live one: publish it first, with CijPublishSegmentOperator. Nothing was sent.",
            )

    async def validate(self, journey_json: str) -> ValidationResult:
        """Validate a journey's definition by the service. Changes nothing.

        :param journey_json: the definition, as JSON
        :return: the findings
        :raises CijUnavailableError: the organisation's version has no such action
        """
        body = {
            "msdynmkt_conversationid": str(uuid.uuid4()),
            "msdynmkt_shouldvalidatecontract": True,
            "msdynmkt_journeyjson": journey_json,
        }
        try:
            return validation_of(await self._client.action(_VALIDATE, body, repeatable=True))
        except CijUnavailableError as error:
            raise _too_old(error) from None

    async def publish(self, journey: Journey | str) -> None:
        """Publish a draft, which sends real mail to real people; one that is live or publishing already is left alone.

        Only a draft is sent for. When the response is lost, the journey is read, and never sent for again here.

        :param journey: as it is, or its id, by which it is read first
        :raises CijJourneyFailedError: it was stopped: a stop is final
        :raises CijJourneyInvalidError: the service finds mistakes in it
        """
        if isinstance(journey, str):
            journey = await self.get(journey)
        if journey.status in (_S.LIVE, _S.PUBLISHING, _S.COMPLETING, _S.COMPLETED):
            log.info("Journey %r (%s) is %s already", journey.name, journey.journey_id, journey.status_name)
            return
        if journey.status != _S.DRAFT:
            later = await self.failure_reason(journey.journey_id) == SUPERSEDED
            raise CijJourneyFailedError(
                f"Journey {journey.name!r} ({journey.journey_id}) is {journey.status_name}"
                + (f"; {SUPERSEDED}. Only a draft is published." if later else ": only a draft is published."),
                hint="Give the id of the later version."
                if later
                else "A stop is final: create the journey anew, under another name.",
            )
        body = await self._publish_inputs(journey.journey_id)
        try:
            answer = await self._client.action(_PUBLISH, body, repeatable=False)
        except CijUnavailableError as error:
            raise _too_old(error) from None
        except CijError as error:
            if not error.may_have_executed:
                raise
            for pause in LOOKS:
                await self._clock.sleep(pause)
                if (await self.get(journey.journey_id)).status != _S.DRAFT:
                    return
            error.hint = f"{error.hint} The journey is a draft still: a retry looks at it first.".strip()
            raise
        if (
            any(name.lower() == "msdynmkt_isvalid" for name in answer)
            and not (validation := validation_of(answer)).valid
        ):
            raise CijJourneyInvalidError(f"Journey {journey.name!r} was not published: {validation.in_words()}.")

    async def _publish_inputs(self, journey_id: str) -> dict[str, Any]:
        try:
            inputs = await inputs_of(self._client, _PUBLISH)
        except CijError as error:
            log.warning("What %s takes can't be read, so it gets the journey's id: %s", _PUBLISH, error)
            inputs = []
        return publish_inputs(inputs, journey_id)


_S = JourneyStatus


def publish_inputs(inputs: Sequence[Mapping[str, Any]], journey_id: str) -> dict[str, Any]:
    """Write the inputs of ``msdynmkt_PublishJourneyV2``.

    :param inputs: its rows of customapirequestparameter; empty when they could not be read
    :raises CijInputError: it requires inputs whose meaning is not known
    """
    required = [row for row in inputs if row.get("isoptional") is not True]
    names = [str(row.get("uniquename")) for row in inputs]
    fitting = [row for row in inputs if re.search(r"journey(_?id)?$", str(row.get("uniquename")), re.IGNORECASE)]
    if not inputs:
        return {_ID: journey_id}
    if len(fitting) != 1 or [row for row in required if row is not fitting[0]]:
        raise CijInputError(
            f"{_PUBLISH} of this organisation takes {', '.join(names)}: which of them is the journey, and what the "
            "others are, is not known.",
            hint="Publish it in Dynamics 365, or create it with publish=True. Nothing was sent.",
        )
    name, row = str(fitting[0].get("uniquename")), fitting[0].get("type") in _ROWS
    return {name: {"@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_journey", _ID: journey_id} if row else journey_id}


def _invalid(spec: JourneySpec, validation: ValidationResult) -> CijJourneyInvalidError:
    # In Publish mode none is made that is not valid.
    left = validation.journey_id and not spec.publish
    hint = f"A draft of it may be there, {validation.journey_id}: delete it before you try again." if left else ""
    return CijJourneyInvalidError(f"Journey {spec.name!r} is not valid: {validation.in_words()}.", hint=hint)


def _too_old(error: CijUnavailableError) -> CijUnavailableError:
    error.hint = f"{error.hint} {_NEEDS}".strip()
    return error


def _moment(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (OverflowError, ValueError):
        return 0.0
