"""What the recipients of a message must have consented to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from enum import IntEnum
from typing import ClassVar

from airflow_provider_cij.errors import CijInputError

COMMERCIAL = "10000000-0000-0000-0000-000000000003"
"""The purpose "Commercial", which every organisation has under this id."""

SENDABLE, NOT_OPTED_OUT, AS_SERVICE = "sendable", "not_opted_out", "as_service"


class Channel(IntEnum):
    """``msdynmkt_contactpointtype``: the channel that a contact point belongs to."""

    EMAIL = 534120000
    TEXT = 534120001
    CUSTOM = 534120002
    VOICE = 534120003


CHANNELS = {"email": Channel.EMAIL, "text": Channel.TEXT, "custom": Channel.CUSTOM, "voice": Channel.VOICE}
"""The channels by the names that ``ConsentTo`` takes."""


@dataclass(unsafe_hash=True)
class ConsentTo:
    """What a message is about, where it goes, and what its recipients must have consented to.

    :param purpose: the purpose, by id or name; default the id of "Commercial" (templated)
    :param topic: the topic, by id or name; it must belong to the purpose. Default None, the purpose alone (templated)
    :param channel: ``"email"`` (default), ``"text"``, ``"custom"`` or ``"voice"`` (templated)
    :param compliance_profile: the compliance profile of the message, by id or name. Default None: every profile that
        has the purpose is considered, and an address on which they differ is unknown (templated)
    :param recipient_column: the column of the contact or lead that holds the address. Default None, the one that the
        organisation's audience configuration names, and ``emailaddress1`` where it names none; where it names several,
        this must be given (templated)
    :param require: ``"sendable"`` (default): the service would send, and the address has not said no, even where the
        purpose's enforcement is disabled. ``"not_opted_out"``: the address has not said no. ``"as_service"``: exactly
        what the service decides (templated)
    :param business_unit_scoping: whether the organisation has switched business-unit scoping on. Default None, not
        known: an address whose only consent is in another business unit is unknown
    :param purpose_id: former name of ``purpose``; default None
    :param topic_id: former name of ``topic``; default None
    :raises CijInputError: an argument is invalid
    """

    template_fields: ClassVar[Sequence[str]] = (
        *("purpose", "topic", "channel", "compliance_profile", "recipient_column", "require"),
    )

    purpose: str = COMMERCIAL
    topic: str | None = None
    channel: str = "email"
    compliance_profile: str | None = None
    recipient_column: str | None = None
    require: str = SENDABLE
    business_unit_scoping: bool | None = None
    purpose_id: InitVar[str | None] = None
    topic_id: InitVar[str | None] = None

    def __post_init__(self, purpose_id: str | None, topic_id: str | None) -> None:
        self.purpose = purpose_id or self.purpose
        self.topic = topic_id or self.topic or None
        self.check()

    def check(self) -> None:
        """Check the arguments. One that holds a template is checked after rendering.

        :raises CijInputError: an argument is invalid
        """
        for name in self.template_fields:
            value = getattr(self, name)
            if not isinstance(value, str) and not (
                value is None and name in ("topic", "compliance_profile", "recipient_column")
            ):
                raise CijInputError(f"{name} of ConsentTo is a {type(value).__name__}.", hint="Give text.")
            if isinstance(value, str) and not value.strip():
                raise CijInputError(f"{name} of ConsentTo is empty.", hint="Give text, or leave it out.")
        for name, words in (("channel", tuple(CHANNELS)), ("require", (SENDABLE, NOT_OPTED_OUT, AS_SERVICE))):
            value = getattr(self, name)
            if "{{" not in value and value not in words:
                raise CijInputError(f"{name} of ConsentTo is {value[:40]!r}.", hint=f"Use one of {', '.join(words)}.")

    @property
    def contact_point_type(self) -> Channel:
        """The channel as the service numbers it."""
        return CHANNELS[self.channel]
