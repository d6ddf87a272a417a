"""The organisation: the composition of all subjects."""

from __future__ import annotations

from cij_sandbox.consent import plugins as consent_plugins
from cij_sandbox.consent import seeding as consent_seeding
from cij_sandbox.consent import tables as consent
from cij_sandbox.consent.actions import ConsentActions
from cij_sandbox.consent.mailing import Mailings
from cij_sandbox.core import errors
from cij_sandbox.core.assumptions import ASSUMED
from cij_sandbox.core.background import Background
from cij_sandbox.core.behaviours import Behaviours
from cij_sandbox.core.schema import Schema
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse import seeding
from cij_sandbox.dataverse import tables as platform
from cij_sandbox.dataverse.actions import Action, Actions
from cij_sandbox.dataverse.keys import STATE as KEYS
from cij_sandbox.dataverse.keys import Keys
from cij_sandbox.dataverse.multiple import Multiple
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.query import Queries
from cij_sandbox.dataverse.rows import Rows
from cij_sandbox.journeys import plugins as journey_plugins
from cij_sandbox.journeys import seeding as journey_seeding
from cij_sandbox.journeys import tables as journeys
from cij_sandbox.journeys.actions import ELSEWHERE, JourneyActions
from cij_sandbox.journeys.triggers import Triggers
from cij_sandbox.outbound import plugins as outbound_plugins
from cij_sandbox.outbound import tables as outbound
from cij_sandbox.outbound.actions import Outbound
from cij_sandbox.outbound.fetching import take_link
from cij_sandbox.segments import plugins as segment_plugins
from cij_sandbox.segments import tables as segments
from cij_sandbox.segments.actions import actions as segment_actions
from cij_sandbox.segments.publishing import Publisher
from cij_sandbox.server.service import Service

SCHEMA = Schema(
    (*platform.TABLES, *segments.TABLES, *journeys.TABLES, *consent.TABLES, *outbound.TABLES),
    "".join([platform.INDEXES, KEYS, segments.STATE, journeys.STATE, consent.STATE, outbound.STATE]),
)
PLUGINS = {
    **segment_plugins.PLUGINS,
    **journey_plugins.PLUGINS,
    **consent_plugins.PLUGINS,
    **outbound_plugins.PLUGINS,
}


class Organisation:
    """One organisation: the service that answers requests, and the work in the background."""

    def __init__(
        self, store: Store, compute_seconds: float, behaviours: Behaviours, signing_key: bytes, privileges: Privileges
    ) -> None:
        self.store = store
        self.background = Background(store, compute_seconds)
        self.triggers = Triggers(store)
        self._publisher = Publisher(store, self.background)
        keys = Keys(store, pending=behaviours.pending_keys)
        rows = Rows(store, keys, privileges, PLUGINS)
        gate = Outbound(store, self.background)
        journey_actions = JourneyActions(store, self.background)
        consent_actions = ConsentActions(store, scoped=behaviours.business_unit_scoping)

        def assumed_actions() -> tuple[Action, ...]:
            return (
                *segment_actions(store, self._publisher),
                *journey_actions.actions(),
                *consent_actions.actions(),
                *gate.actions(),
            )

        actions = Actions(store, privileges, assumed_actions(), self.triggers.find, (*ELSEWHERE, "BulkDelete"))
        ASSUMED.changed = [segments.apply_assumptions, _frame_errors, lambda: actions.replace(assumed_actions())]
        for apply in ASSUMED.changed[:2]:
            apply()
        self.background.steps.append(Mailings(scoped=behaviours.business_unit_scoping))
        self.service = Service(
            store,
            keys,
            rows,
            Multiple(store, keys, rows),
            Queries(store, privileges, signing_key, take_link),
            actions,
            privileges,
            gate.enter,
            self.background.notify,
            lf_batches=behaviours.lf_batches,
        )

    def start(self) -> None:
        """Start the work in the background."""
        self.background.start()

    def stop(self) -> None:
        """Stop the work in the background; it continues after the next start."""
        self.background.stop()
        self._publisher.stop()


def _frame_errors() -> None:
    is_plain = ASSUMED.can_play("segments.error-text") and ASSUMED("segments.error-text") == "plain"
    errors.set_frame(is_plain=is_plain)


def seed(store: Store, contacts: int, leads: int, number: int) -> None:
    """Insert the rows of a new organisation. Rows that were deleted are not inserted again."""
    seeding.seed(store, contacts, leads, number)
    if not store.setting("keys_prepared"):
        Keys(store).define(platform.CONTACT, {"SchemaName": "new_CustomerNoKey", "KeyAttributes": ["new_customerno"]})
        store.keep("keys_prepared", "1")
    if not store.setting("journeys_prepared"):
        with store.transaction() as connection:
            journey_seeding.seed(connection)
            consent_seeding.seed(connection)
            store.keep("journeys_prepared", "1")
