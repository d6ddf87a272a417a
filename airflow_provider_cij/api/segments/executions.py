"""The log of evaluations, msdynmkt_segmentexecution: how it is queried, and what its rows mean. Pure.

Source: the table reference of msdynmkt_segmentexecution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_cij.api.segments.models import EXECUTION_COLUMNS, UNFINISHED, Execution
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.dataverse.redact import words_of

EXECUTIONS = "msdynmkt_segmentexecutions"
OF_DEFINITION = "_msdynmkt_segmentdefinitionid_value"
BEGUN = "msdynmkt_startedon ne null"
"""Condition for evaluations that have begun."""
NOT_ENDED = f"({' or '.join(f'statuscode eq {int(status)}' for status in sorted(UNFINISHED))})"
"""Condition for evaluations that are requested or in progress."""


def newest_query(definition_id: str, condition: str, most: int) -> str:
    """Return the query for the newest evaluations of one segment, the newest first.

    :param definition_id: the segment's definition
    :param condition: ``BEGUN`` or ``NOT_ENDED``
    :param most: the maximum number of evaluations
    :raises CijInputError: the id is no GUID
    """
    where = f"{_of(definition_id)} and {condition}"
    return query(EXECUTIONS, select=EXECUTION_COLUMNS, where=where, orderby="msdynmkt_startedon desc", top=most)


def log_query(asked: Sequence[tuple[str, str]], all_since: str = "") -> str:
    """Return the query for the evaluations of many segments: those since a time, and those that have not ended.

    :param asked: definitions, each with the time since when its evaluations are read (ISO 8601; ``""`` for all)
    :param all_since: read the evaluations of all segments since this time; default ``""``, filter by definition
    :raises CijInputError: an id is no GUID
    """
    if len(asked) == 1 and asked[0][1]:
        definition_id, since = asked[0]
        where = f"{_of(definition_id)} and (msdynmkt_startedon ge {since} or {NOT_ENDED})"
    else:
        windows = (
            [f"msdynmkt_startedon ge {all_since}"]
            if all_since
            else [
                f"({_of(definition_id)}" + (f" and msdynmkt_startedon ge {since})" if since else ")")
                for definition_id, since in asked
            ]
        )
        where = " or ".join([NOT_ENDED, *windows] if len(asked) > 1 else windows)
    return query(EXECUTIONS, select=(*EXECUTION_COLUMNS, OF_DEFINITION), where=where)


def _of(definition_id: str) -> str:
    return f"{OF_DEFINITION} eq {normalize_guid(definition_id, 'definition id')}"


def executions_of(rows: Iterable[Mapping[str, Any]], asked: Iterable[tuple[str, str]]) -> list[tuple[str, Execution]]:
    """Return the evaluations in the rows of ``log_query``: those that have not begun first, then the newest first.

    :param rows: the rows; those of other segments are dropped
    :param asked: as it was given to ``log_query``
    """
    ours = {normalize_guid(definition_id, "definition id") for definition_id, _ in asked}
    found = [(str(row.get(OF_DEFINITION)).lower(), Execution.of(row)) for row in rows]
    # ISO 8601 in UTC, as the service writes it: the order of text is the order of time.
    found.sort(key=lambda pair: (not pair[1].started_on, pair[1].started_on), reverse=True)
    return [pair for pair in found if pair[0] in ours]


def failure_reason_of(answer: Mapping[str, Any]) -> str:
    """Return why the last evaluation failed, ``""`` when the response does not say.

    :param answer: the outputs of ``msdynmkt_SegmentStatus``
    """
    try:
        last = (json.loads(answer.get("ResultText") or "{}") or {}).get("lastExecution") or {}
        words = [last.get("statusMessage"), last.get("nonLocalizedExecutionReasonForUser")]
        return words_of(" ".join(str(word) for word in words if word))
    except (AttributeError, RecursionError, TypeError, ValueError):
        return ""
