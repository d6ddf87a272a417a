"""The marker in ``msdynmkt_reason`` of rows that this package wrote: when consent was given, what was written. Pure.

A marker counts only while the row still holds the value and the source that were written with it: the service keeps the
text when a person changes the consent afterwards. The use of the column is Microsoft's ("Create consent records",
circular loop); what stands in it is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue

REASON_LENGTH = 500
_MARK = re.compile(r" ?\[airflow-provider-cij given=(\S+) value=(\d+) source=(\d+|-) written=(\S+?)( dated)?\]$")
_UNDATED = "-"
# A row that was modified later than this after it was written was modified by others. Where a write takes longer, our
# "no" is dated by the write, and gives way to fewer opt-ins.
_WRITING_TAKES = timedelta(seconds=5)


@dataclass(frozen=True)
class Marker:
    """What the marker of a row says.

    :param given_at: when the consent was given or withdrawn, as the source says; None, it does not say
    :param value: ``msdynmkt_value`` as it was written
    :param source: ``msdynmkt_source`` as it was after the write
    :param written_at: when it was written, by the service's clock
    :param only_dated: True, the value was there already, and others had set it; default False
    """

    given_at: datetime | None
    value: int
    source: int | None
    written_at: datetime
    only_dated: bool = False


def marked(reason: str, marker: Marker) -> str:
    """Return a reason with a marker at its end. A reason too long for the column is cut.

    :param reason: the reason that people read
    :param marker: the marker
    """
    given = _UNDATED if marker.given_at is None else _text(marker.given_at)
    source = "-" if marker.source is None else marker.source
    written = _text(marker.written_at)
    dated = " dated" if marker.only_dated else ""
    mark = f"[airflow-provider-cij given={given} value={marker.value} source={source} written={written}{dated}]"
    return f"{reason.strip()[: REASON_LENGTH - len(mark) - 1]} {mark}".strip()


def plain_reason(reason: str) -> str:
    """Return a reason without its marker.

    :param reason: ``msdynmkt_reason``
    """
    return _MARK.sub("", reason)


def marker_of(row: ConsentRow) -> Marker | None:
    """Return the marker of a row that still says what was written with it; None for any other row.

    :param row: the row, with value, source and reason
    """
    found = _MARK.search(row.reason)
    if not found:
        return None
    given, value, source, written, dated = found.groups()
    try:
        marker = Marker(
            None if given == _UNDATED else _moment(given),
            int(value),
            None if source == "-" else int(source),
            _moment(written),
            bool(dated),
        )
    except ValueError:
        return None
    return marker if (marker.value, marker.source) == (row.value, row.source) else None


def is_ours(row: ConsentRow) -> bool:
    """Return whether this package set a row's value. A row that it only dated anew stays the choice of whoever made it.

    :param row: the row, with value, source and reason
    """
    marker = marker_of(row)
    return marker is not None and not marker.only_dated


def said_at(row: ConsentRow) -> datetime:
    """Return when a row's consent was given or withdrawn, for a comparison with another date.

    Our own rows are dated by their source: their ``modifiedon`` is the time of the import, which would make an opt-out
    that reaches us late look older. A "no" that others have confirmed since is as late as that.

    :param row: the row, with value, source and reason
    """
    marker = marker_of(row)
    if marker is None or marker.given_at is None:
        return row.modified_on
    modified_since = row.modified_on > marker.written_at + _WRITING_TAKES
    if row.value != ConsentValue.OPTED_IN and modified_since:
        return max(marker.given_at, row.modified_on)
    return marker.given_at


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment
