"""Behaviours in which documents contradict each other or versions differ. All are off by default."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Behaviours:
    """The behaviours of one organisation."""

    malformed_members: bool = False
    segment_id_is_definition_id: bool = False
    without_stop_segments: bool = False
    warn_of_unknown_members: bool = False
    outbound_removed: bool = False
    live_journey_errors: bool = False
    without_journey_json: bool = False
    drop_busy_publish: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> Behaviours:
        """Read the behaviours from the command line."""
        return cls(
            options.malformed_members,
            options.segment_id_is_definition_id,
            options.without_stop_segments,
            options.unknown_members == "warn",
            options.outbound_removed,
            options.journey_errors == "live",
            options.without_journey_json,
            options.busy_publish == "drop",
        )


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the behaviours to the options of ``cij-sandbox``."""
    group = parser.add_argument_group("where documents and versions differ")
    group.add_argument(
        "--malformed-members", action="store_true", help="MembersList answers as it is printed, which is no JSON"
    )
    group.add_argument(
        "--segment-id-is-definition-id",
        action="store_true",
        help="actions take the id of a definition as well, as the document of 2023 says",
    )
    group.add_argument(
        "--without-stop-segments", action="store_true", help="msdynmkt_StopSegments is missing, as in older versions"
    )
    group.add_argument(
        "--unknown-members",
        choices=("keep", "warn"),
        default="keep",
        help="warn: a segment with ids in a group that are no rows ends in Computed with warnings; default: keep",
    )
    group.add_argument(
        "--outbound-removed", action="store_true", help="outbound marketing is gone, as everywhere since May 2026"
    )
    group.add_argument(
        "--journey-errors",
        choices=("documented", "live"),
        default="documented",
        help="live: msdynmkt_errors has errorCode, errorMessage, or is null, as was seen; default: documented",
    )
    group.add_argument(
        "--without-journey-json",
        action="store_true",
        help="msdynmkt_CreateJourneyJsonFromTemplate and msdynmkt_ValidateJourneyJson are missing",
    )
    group.add_argument(
        "--busy-publish",
        choices=("replace", "drop"),
        default="replace",
        help="drop: a publish that meets an evaluation under way is accepted and has no effect, which no document "
        "excludes; default: replace: it gives that evaluation up and begins a new one",
    )
