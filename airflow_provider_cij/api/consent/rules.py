"""What somebody consents to. Apart from the other models because DAG files import it."""

from __future__ import annotations

from dataclasses import dataclass

COMMERCIAL = "10000000-0000-0000-0000-000000000003"
"""The purpose "Commercial", which every organisation has under this id."""


@dataclass(frozen=True)
class ConsentTo:
    """A purpose, or a topic of it.

    :param purpose_id: by default "Commercial"
    :param topic_id: who has opted out of it, or of all of its purpose, is not to be written to about it
    """

    purpose_id: str = COMMERCIAL
    topic_id: str = ""
