"""The actions and table privileges that each operator, sensor and watcher needs."""

from __future__ import annotations

from dataclasses import dataclass

SEGMENT, DEFINITION, EXECUTION = "msdynmkt_segment", "msdynmkt_segmentdefinition", "msdynmkt_segmentexecution"
JOURNEY, TEMPLATE, INSTANCE = "msdynmkt_journey", "msdynmkt_journeytemplate", "msdynmkt_journeyinstance"
TRIGGER, CUSTOM_API, INPUT = "msdynmkt_eventmetadata", "customapi", "customapirequestparameter"
CONSENT, PURPOSE = "msdynmkt_contactpointconsent4", "msdynmkt_purpose"
OUTBOUND_SEGMENT, OUTBOUND_JOURNEY = "msdyncrm_segment", "msdyncrm_customerjourney"

SETS = {TRIGGER: "msdynmkt_eventmetadataset"}
"""Entity set names that are not the logical name with an s."""


@dataclass(frozen=True)
class Needs:
    """The actions and table privileges that one class needs.

    :param name: the class
    :param actions: unique names of actions; default none
    :param read: tables to read; default none
    :param create: tables to create rows in; default none
    :param write: tables to change rows in; default none
    :param delete: tables to delete rows from; default none
    """

    name: str
    actions: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()

    @property
    def outbound(self) -> bool:
        """Return whether the class is of outbound marketing, which Microsoft removed in 2026."""
        return self.name.startswith("CijOutbound")

    @property
    def privileges(self) -> list[tuple[str, str]]:
        """Return the privileges as pairs of operation and table."""
        by_operation = {"read": self.read, "create": self.create, "write": self.write, "delete": self.delete}
        return [(operation, table) for operation, tables in by_operation.items() for table in tables]


_ROWS = (SEGMENT, DEFINITION)
_RUNS = (*_ROWS, EXECUTION)
_ADD, _REMOVE, _GROUP, _MEMBERS, _PUBLISH, _STOP = (
    f"msdynmkt_{name}"
    for name in (
        *("AddStaticMembers", "RemoveStaticMembers", "ListGroupMembers", "MembersList"),
        *("PublishSegmentDefinition", "StopSegments"),
    )
)
_OF_SEGMENT, _OF_JOURNEY = (OUTBOUND_SEGMENT,), (OUTBOUND_JOURNEY,)
_CHANGE_MEMBERS, _FETCH, _VALIDATE_SEGMENT, _VALIDATE_JOURNEY = (
    f"msdyncrm_{name}"
    for name in ("SegmentMembersUpdate", "FetchContactsByQuery", "ValidateSegment", "CustomerJourneyValidate")
)

NEEDS = (
    Needs("CijCreateSegmentOperator", read=_ROWS, create=_ROWS),
    Needs("CijUpdateSegmentOperator", read=_ROWS, write=_ROWS),
    Needs("CijAddSegmentMembersOperator", (_ADD, _GROUP), read=_ROWS, write=(DEFINITION,)),
    Needs("CijRemoveSegmentMembersOperator", (_REMOVE, _GROUP), read=_ROWS, write=(DEFINITION,)),
    Needs("CijMirrorSegmentMembersOperator", (_ADD, _REMOVE, _GROUP), read=_ROWS, write=(DEFINITION,)),
    Needs("CijPublishSegmentOperator", (_PUBLISH,), read=_RUNS, write=(DEFINITION,)),
    Needs("CijRefreshSegmentOperator", (_PUBLISH,), read=_RUNS, write=(DEFINITION,)),
    Needs("CijExportSegmentMembersOperator", (_MEMBERS,), read=_ROWS),
    Needs("CijStopSegmentsOperator", (_STOP,), read=_ROWS, write=(SEGMENT,)),
    Needs("CijDeleteSegmentOperator", read=_ROWS, delete=_ROWS),
    Needs("CijPurgeSegmentExecutionsOperator", read=(EXECUTION,), delete=(EXECUTION,)),
    Needs("CijSegmentSensor", read=_RUNS),
    Needs("CijSegmentMembersSensor", (_MEMBERS,), read=_RUNS),
    Needs("CijSegmentWatcher", read=_RUNS),
    Needs("CijCreateJourneyOperator", ("msdynmkt_CreateJourneyFromTemplate",), (JOURNEY, TEMPLATE), (JOURNEY,)),
    Needs("CijValidateJourneyOperator", ("msdynmkt_ValidateJourneyJson",), (JOURNEY,)),
    Needs("CijPublishJourneyOperator", ("msdynmkt_PublishJourneyV2",), (JOURNEY,), write=(JOURNEY,)),
    Needs("CijJourneySensor", read=(JOURNEY,)),
    Needs("CijJourneyWatcher", read=(JOURNEY,)),
    Needs("CijExportJourneyParticipantsOperator", read=(JOURNEY, INSTANCE)),
    Needs("CijInteractionsSensor"),  # reads a database
    Needs("CijRaiseTriggerOperator", read=(TRIGGER, CUSTOM_API, INPUT)),
    Needs("CijUpsertContactsOperator", read=("contact",), create=("contact",), write=("contact",)),
    Needs("CijUpsertLeadsOperator", read=("lead",), create=("lead",), write=("lead",)),
    Needs("CijImportConsentOperator", read=(CONSENT, PURPOSE), create=(CONSENT,), write=(CONSENT,)),
    Needs("CijExportConsentOperator", read=(CONSENT, PURPOSE)),
    Needs("CijOutboundCreateSegmentOperator", read=_OF_SEGMENT, create=_OF_SEGMENT),
    Needs("CijOutboundUpdateSegmentOperator", read=_OF_SEGMENT, write=_OF_SEGMENT),
    Needs("CijOutboundPublishSegmentOperator", read=_OF_SEGMENT, write=_OF_SEGMENT),
    Needs("CijOutboundStopSegmentOperator", read=_OF_SEGMENT, write=_OF_SEGMENT),
    Needs("CijOutboundDeleteSegmentOperator", read=_OF_SEGMENT, delete=_OF_SEGMENT),
    Needs("CijOutboundValidateSegmentOperator", (_VALIDATE_SEGMENT,), _OF_SEGMENT),
    Needs("CijOutboundUpdateSegmentMembersOperator", (_CHANGE_MEMBERS,), _OF_SEGMENT),
    Needs("CijOutboundExportSegmentMembersOperator", (_FETCH,), _OF_SEGMENT),
    Needs("CijOutboundSegmentSensor", read=_OF_SEGMENT),
    Needs("CijOutboundMemberOperationsSensor", (_CHANGE_MEMBERS,), _OF_SEGMENT),
    Needs("CijOutboundCreateJourneyOperator", read=_OF_JOURNEY, create=_OF_JOURNEY),
    Needs("CijOutboundUpdateJourneyOperator", read=_OF_JOURNEY, write=_OF_JOURNEY),
    Needs("CijOutboundValidateJourneyOperator", (_VALIDATE_JOURNEY,), _OF_JOURNEY),
    Needs("CijOutboundPublishJourneyOperator", read=_OF_JOURNEY, write=_OF_JOURNEY),
    Needs("CijOutboundStopJourneyOperator", read=_OF_JOURNEY, write=_OF_JOURNEY),
    Needs("CijOutboundDeleteJourneyOperator", read=_OF_JOURNEY, delete=_OF_JOURNEY),
    Needs("CijOutboundJourneySensor", read=_OF_JOURNEY),
)
"""One entry for each operator, sensor and watcher."""
