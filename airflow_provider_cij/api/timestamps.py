"""Moments in time as arguments give them and as the service writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_cij.errors import CijInputError


def parse_utc(name: str, value: object) -> datetime:
    """Return a moment in UTC.

    :param name: the argument's name, for the error
    :param value: a datetime with its time zone, or ISO 8601 with one
    :return: the moment, with UTC as its time zone
    :raises CijInputError: the value is no moment, has no time zone, or is before the year 1 or after 9999 in UTC
    """
    shown = repr(value)[:60]
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if moment.utcoffset() is None:
            raise CijInputError(f"{name} is {shown}, without a time zone.", hint="Add one, such as +00:00.")
        return moment.astimezone(UTC)
    except OverflowError:
        raise CijInputError(f"{name} is {shown}, which is out of range.", hint="Years go from 1 to 9999.") from None
    except (TypeError, ValueError):
        raise CijInputError(f"{name} is {shown}.", hint="Give a datetime, or ISO 8601.") from None


def format_utc(moment: datetime) -> str:
    """Return a moment as the service writes it: UTC, whole seconds, a year of four digits.

    :param moment: the moment, with a time zone
    """
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
