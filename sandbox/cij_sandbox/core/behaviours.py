"""Behaviours in which documents contradict each other or versions differ. All are off by default.

Most choose an alternative of an assumption (``assumptions.py``).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields


def _option(text: str, name: str = "", off: str = "", on: str = "", chooses: tuple[str, ...] = ()) -> bool:
    """Return a field with its command line option: a flag, or ``name`` with the values ``off`` and ``on``.

    ``chooses`` are assumptions, each with the alternative that the option chooses.
    """
    metadata = {"help": text, "name": name, "values": (off, on), "chooses": chooses}
    found: bool = field(default=False, metadata=metadata)
    return found


@dataclass(frozen=True)
class Behaviours:
    """The behaviours of one organisation."""

    malformed_members: bool = _option(
        "MembersList answers as it is printed, which is no JSON", chooses=("segments.members-text", "as printed")
    )
    segment_id_is_definition_id: bool = _option(
        "actions take the id of a definition as well, as the document of 2023 says",
        chooses=("segments.segment-id", "segment or definition"),
    )
    without_stop_segments: bool = _option(
        "msdynmkt_StopSegments is missing, as in older versions", chooses=("segments.stop-action", "missing")
    )
    warn_of_unknown_members: bool = _option(
        "warn: a segment with ids in a group that are no rows ends in Computed with warnings; default: keep",
        "unknown-members",
        "keep",
        "warn",
        ("segments.unknown-members", "counted, with warnings"),
    )
    outbound_removed: bool = _option(
        "outbound marketing is gone, as everywhere since May 2026", chooses=("outbound.marketing", "removed")
    )
    live_journey_errors: bool = _option(
        "live: msdynmkt_errors has errorCode, errorMessage, or is null, as was seen; default: documented",
        "journey-errors",
        "documented",
        "live",
        ("journeys.errors", "errorCode, errorMessage", "journeys.no-errors", "null"),
    )
    without_journey_json: bool = _option(
        "msdynmkt_CreateJourneyJsonFromTemplate and msdynmkt_ValidateJourneyJson are missing",
        chooses=("journeys.json-actions", "missing"),
    )
    lf_batches: bool = _option("batches whose lines end with LF are read; the document asks for CRLF")
    with_check_consent: bool = _option(
        "msdynmkt_checkconsent is there; assumed: its inputs and outputs are those of replacement consent providers",
        chooses=("consent.check-action", "there"),
    )
    business_unit_scoping: bool = _option(
        "business-unit scoping is on: consent in business units other than the purpose's and the profile's is not found"
    )
    with_journey_instances: bool = _option(
        "the application user may read msdynmkt_journeyinstance, which the marketing roles do not list"
    )
    pending_keys: bool = _option("the index of a new alternate key is never built: the key stays Pending")
    deadlocks: bool = _option(
        "the same row twice in UpdateMultiple or UpsertMultiple, in one request or in two at once, ends in a deadlock",
        chooses=("platform.same-row-twice", "500 0x80044150"),
    )
    drop_busy_publish: bool = _option(
        "drop: a publish that meets an evaluation under way is accepted and has no effect, which no document "
        "excludes; default: replace: it gives that evaluation up and begins a new one",
        "busy-publish",
        "replace",
        "drop",
        ("segments.publish-busy", "dropped"),
    )

    @classmethod
    def of(cls, options: argparse.Namespace) -> Behaviours:
        """Read the behaviours from the command line."""
        on = {each.name: (True, each.metadata["values"][1]) for each in fields(cls)}
        return cls(**{name: getattr(options, name) in values for name, values in on.items()})

    def choices(self) -> dict[str, str]:
        """Return the assumptions that the options choose, with the alternative of each."""
        on = [each.metadata["chooses"] for each in fields(self) if getattr(self, each.name)]
        return {name: other for chosen in on for name, other in zip(chosen[::2], chosen[1::2], strict=True)}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the behaviours to the options of ``cij-sandbox``."""
    group = parser.add_argument_group("where documents and versions differ")
    for each in fields(Behaviours):
        name, values, text = each.metadata["name"], each.metadata["values"], each.metadata["help"]
        if name:
            group.add_argument(f"--{name}", dest=each.name, choices=values, default=values[0], help=text)
        else:
            group.add_argument(f"--{each.name.replace('_', '-')}", action="store_true", help=text)
