"""Reading the two answers that no document describes: the state of member operations, and fetched contacts. Pure.

What is understood is used; what is not never passes for a success, or for an empty list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_cij.api.members.pages import Page
from airflow_provider_cij.dataverse.guids import pack_guids, read_guids
from airflow_provider_cij.errors import CijReplyError

OperationsOutcome = Literal["finished", "pending", "failed", "unknown"]

_FINISHED = {"completed", "complete", "done", "finished", "idle"}
_SUCCEEDED = {"succeeded", "success"}
_PENDING = {"inprogress", "notstarted", "pending", "processing", "queued", "running", "scheduled", "started", "waiting"}
_FAILED = {"error", "failed", "failure", "faulted", "timedout"}
_STATE_NAME = re.compile(r"stat(e|us)(code|reason)?$")
_PENDING_NAME = re.compile(r"pending|queued|inprogress|running|unprocessed|waiting|outstanding")
_FAILED_NAME = re.compile(r"fail|error|(?<!de)fault")
_PERSONAL = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}|[^\s\"@]+@[^\s\"@]+")
_SHOWN = 500


@dataclass(frozen=True)
class OperationsState:
    """What msdyncrm_SegmentMembersUpdate answers to ``getState``.

    :param verdict: what it seems to say; ``unknown`` when it says nothing that can be understood
    :param raw: the answer as it came. It may name people: show ``shown`` instead
    """

    verdict: OperationsOutcome
    raw: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The answer for a log: without ids and addresses, and not too long."""
        return _PERSONAL.sub("…", json.dumps(self.raw))[:_SHOWN]


def state_of(answer: Mapping[str, Any]) -> OperationsState:
    """Read the answer to ``getState``: a sign of trouble counts most, then one of work to do, then one of its end."""
    raw = {name: value for name, value in answer.items() if not name.startswith("@")}
    signs = set(_signs(raw))
    order: tuple[OperationsOutcome, ...] = ("failed", "pending", "unknown", "finished")
    return OperationsState(next((verdict for verdict in order if verdict in signs), "unknown"), raw)


def _signs(value: Any, name: str = "", *, listed: bool = False) -> Iterator[OperationsOutcome]:
    """Return what each part of an answer stands for, if anything.

    :param value: the part
    :param name: the names it lies under
    :param listed: it is of one operation among several
    """
    value = _unpacked(value)
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _signs(part, f"{name} {_word(key)}", listed=listed)
        return
    if isinstance(value, list):
        for part in value:
            yield from _signs(part, listed=True)
    elif isinstance(value, str):
        if said := _said(_word(value), name, listed=listed):
            yield said
        number = re.fullmatch(r"[0-9]{1,9}", value.strip())
        if not number and not (value and _FAILED_NAME.search(name)):  # a text about an error is one
            return
        value = int(number[0]) if number else True
    if value and _FAILED_NAME.search(name):
        yield "failed"
    elif value is not None and _PENDING_NAME.search(name):
        yield "pending" if value else "finished"


def _said(word: str, name: str, *, listed: bool) -> OperationsOutcome | None:
    """Read a state that is given in a word; None where it is none."""
    if not _STATE_NAME.search(name):
        return None
    if word in _SUCCEEDED and not listed:
        return None  # that may be the question's own success
    if word in _FINISHED | _SUCCEEDED:
        return "finished"
    return "failed" if word in _FAILED else "pending" if word in _PENDING else "unknown"


def _word(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


def contacts_of(answer: Mapping[str, Any]) -> Page:
    """Read a page of contacts out of the answer of msdyncrm_FetchContactsByQuery, wherever in it they are.

    :return: the page; ``total`` and ``has_next`` where the answer says so
    :raises CijReplyError: there is no list of contacts in it, or more than one, or an entry without an id
    """
    lists: list[list[Any]] = []
    said: dict[str, Any] = {}
    _collect({name: value for name, value in answer.items() if not name.startswith("@")}, lists, said)
    full = [contacts for contacts in lists if contacts]
    if len(full) > 1 or not lists:
        raise CijReplyError(
            f"The answer of msdyncrm_FetchContactsByQuery holds {len(full):,} lists of contacts, not one.",
            hint="No document says what it looks like: export with how='fetchxml' instead.",
        )
    ids, keys, bad = read_guids([_contact_id(entry) for entry in (full[0] if full else [])])
    if bad:
        raise CijReplyError("The answer of msdyncrm_FetchContactsByQuery has an entry without a contact's id.")
    total = next((said[name] for name in ("totalrecordcount", "totalcount", "total") if name in said), None)
    more = any(said.get(name) is True for name in ("morerecords", "hasmore", "hasnextpage"))
    return Page(ids, keys, has_next=more, total=total if isinstance(total, int) and total >= 0 else None)


def _collect(value: Any, lists: list[list[Any]], said: dict[str, Any]) -> None:
    value = _unpacked(value)
    if isinstance(value, list):
        # A list of plain values that are no ids, such as column names, is none of contacts.
        if all(isinstance(entry, dict) for entry in value) or not pack_guids(value)[1]:
            lists.append(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            said.setdefault(key.lower(), part)
            _collect(part, lists, said)


def _contact_id(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    fields = {name.lower(): value for name, value in entry.items()}
    attributes = fields.get("attributes")
    if isinstance(attributes, dict):
        fields |= {name.lower(): value for name, value in attributes.items()}
    return fields.get("contactid") or fields.get("id")


def _unpacked(value: Any) -> Any:
    """Open JSON in a string; leave any other text as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value
