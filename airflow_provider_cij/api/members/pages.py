"""Reading lists of members, which the service sends as JSON in a string. Pure.

The documents print an answer that is no JSON (an unescaped quote) and that has two ids in one string; the service
itself sends sound JSON. Both are read, but a list that was cut short never passes for a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.dataverse.guids import pack_guids, unpack_guids
from airflow_provider_cij.errors import CijIncompleteError, CijReplyError


@dataclass(frozen=True)
class Page:
    """One page of ids.

    :param ids: lower case, dashed
    :param has_next: the service says that there is more
    :param number: of this page, as the service counts, if it says
    :param size: ids a page, if it says
    :param total: ids in all, if it says
    """

    ids: list[str]
    has_next: bool = False
    number: int | None = None
    size: int | None = None
    total: int | None = None


def page_of(answer: Mapping[str, Any], output: str, list_name: str) -> Page:
    """Read a page out of an action's answer.

    :param answer: the action's outputs
    :param output: the output that holds the text, such as ``ResultText``
    :param list_name: the list within it, such as ``members``
    :raises CijReplyError: there is no such list in it
    """
    fields = {name.lower(): value for name, value in answer.items()}
    text = fields.get(output.lower())
    if not isinstance(text, str):
        raise CijReplyError(f"The answer has no text in {output}.")
    return page_of_text(text, list_name)


def page_of_text(text: str, list_name: str) -> Page:
    """Read a page out of the text itself, sound JSON or not.

    :raises CijReplyError: there is no such list in it, or something in it is no id
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _rescued(text, list_name)
    if value is None or value == "":
        return Page([])
    fields = {name.lower(): item for name, item in value.items()} if isinstance(value, dict) else {}
    entries = fields.get(list_name.lower())
    if not isinstance(entries, list):
        raise CijReplyError(f"The answer holds no list of {list_name}.")
    return Page(
        ids=_ids(entries),
        has_next=fields.get("hasnextpage") is True,
        number=_number(fields.get("pagenumber")),
        size=_number(fields.get("pagesize")),
        total=_number(fields.get("totalcount")),
    )


def _ids(entries: list[Any]) -> list[str]:
    """Read a list's entries, all at once; the documents put several ids into one string."""
    keys, bad = pack_guids(entries)
    if bad:
        keys, bad = pack_guids([word for entry in entries for word in re.split(r"[,\s]+", str(entry)) if word])
    if bad:
        raise CijReplyError("The list of members has an entry that is no id.")
    return unpack_guids(keys)


def _rescued(text: str, list_name: str) -> Page:
    # Without the closing bracket it may be half of a list.
    found = re.search(rf'{list_name}\W*?"\s*:\s*\[([^\]]*)\]', text, re.IGNORECASE)
    if not found or not text.rstrip().endswith("}"):
        raise CijReplyError(f"The answer holds no whole list of {list_name}.")

    def said(name: str) -> str | None:
        pair = re.search(rf'"{name}\W*?"\s*:\s*(\w+)', text, re.IGNORECASE)
        return pair[1] if pair else None

    return Page(
        ids=_ids([re.sub(r'[\\"]', " ", found[1])]),
        has_next=said("hasNextPage") == "true",
        number=_number(said("pageNumber")),
        size=_number(said("pageSize")),
        total=_number(said("totalCount")),
    )


def _number(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (OverflowError, TypeError, ValueError):
        return None


def paging_inputs(parameters: list[Any]) -> dict[str, str]:
    """Find how an action is asked for a certain page: no document says.

    :param parameters: its rows of customapirequestparameter
    :return: the names of its inputs ``number`` and, if there is one, ``size``
    :raises CijIncompleteError: it has no input for a page's number
    """
    names = [str(row.get("uniquename") or "") for row in parameters if isinstance(row, dict)]
    number = [name for name in names if re.search(r"page_?(no|num|number|index)$", name, re.IGNORECASE)]
    size = [name for name in names if re.search(r"(page_?size|page_?count|max_?page_?size)$", name, re.IGNORECASE)]
    if len(number) != 1 or len(size) > 1:
        raise CijIncompleteError(
            "The list of members goes on, but the action has no known input for its pages.",
            hint="Export the static groups one by one instead.",
        )
    return {"number": number[0], **({"size": size[0]} if size else {})}
