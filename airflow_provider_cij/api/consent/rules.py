"""What a person consents to: a purpose or a topic. A module of its own because DAG files import it."""

from __future__ import annotations

from dataclasses import dataclass

COMMERCIAL = "10000000-0000-0000-0000-000000000003"
"""The purpose "Commercial", which every organisation has under this id."""


@dataclass(frozen=True)
class ConsentTo:
    """A purpose, or a topic of it.

    :param purpose_id: the purpose's id; default that of "Commercial"
    :param topic_id: the topic's id; a person who has opted out of it, or of its whole purpose, must not get mail about
        it. Default empty, the purpose alone
    """

    purpose_id: str = COMMERCIAL
    topic_id: str = ""
