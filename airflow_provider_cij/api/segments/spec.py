"""What a segment is created or updated to, and the rows that hold it. Pure.

Source: "Create a Customer Insights - Journeys segment using the Web API".
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_provider_cij.api.column_values import whole_number
from airflow_provider_cij.api.row_sync import Column, Table
from airflow_provider_cij.api.segments.models import MemberGroup, groups_of, groups_text, with_ids
from airflow_provider_cij.dataverse.guids import normalize_guid, pack_guids, unpack_guids
from airflow_provider_cij.errors import CijInputError

MOST_GROUPS = 10
LONGEST_NAME = 100


def _shown_people(text: Any) -> int:
    return len(re.findall(r"[^\s,;\[\]]+", str(text or "")))


def _shown_groups(text: Any) -> dict[str, str]:
    return {group.name: "include" if group.include else "exclude" for group in groups_of(text)}


SEGMENTS = Table(
    "msdynmkt_segments",
    "msdynmkt_segmentid",
    {"statecode": 1, "statuscode": 2},
    {
        "msdynmkt_displayname": Column("display_name"),
        "msdynmkt_baseentitylogicalname": Column("base_table"),
        # Written as static, it has been read back as dynamic.
        "msdynmkt_type": Column(same=lambda ours, theirs: True),
        "msdynmkt_sourcesegmentuid": Column(same=lambda ours, theirs: bool(ours == str(theirs or "").lower())),
    },
)
DEFINITIONS = Table(
    "msdynmkt_segmentdefinitions",
    "msdynmkt_segmentdefinitionid",
    {"statecode": 0, "statuscode": 723270001},
    {
        "msdynmkt_segmentquery": Column("query"),
        "msdynmkt_staticlistmembers": Column(
            "groups", lambda ours, theirs: set(groups_of(ours)) == set(groups_of(theirs)), _shown_groups
        ),
        "msdynmkt_disablesegmentrefresh": Column("static_snapshot"),
        "msdynmkt_segmentrefreshintervalminutes": Column("refresh_interval_minutes"),
        "msdynmkt_includedmembers": Column("included_members", shown=_shown_people),
        "msdynmkt_excludedmembers": Column("excluded_members", shown=_shown_people),
    },
)

IfExists = Literal["update", "reuse", "fail"]

# All ids derive from it. Never change it: every DAG would create its segments a second time.
_NAMESPACE = uuid.UUID("6f3c1a52-6a0e-5d0b-9c11-3d2a0c5f7e84")
_REAL_TIME = 12
_STATIC, _DYNAMIC = 10, 11


# Table reference of msdynmkt_segmentdefinition: the most characters of each.
_LONGEST = {"included_members": 1_048_576, "excluded_members": 4_000}


def id_of(key: str) -> str:
    """Return the id of a row, derived from its key.

    :param key: names the row, in each organisation the same
    """
    return str(uuid.uuid5(_NAMESPACE, key))


def check_if_exists(if_exists: str) -> None:
    """Raise CijInputError for an unknown value of ``if_exists``."""
    if if_exists not in ("update", "reuse", "fail"):
        raise CijInputError(f"if_exists is {if_exists!r}.", hint="Use 'update', 'reuse' or 'fail'.")


def definition_id_of(segment_id: str) -> str:
    """Return the id of the definition of a segment that this package has created."""
    return str(uuid.uuid5(uuid.UUID(segment_id), "definition"))


@dataclass(frozen=True)
class SegmentSpec:
    """What a segment is created or updated to.

    :param key: names the segment; every id derives from it, the same in each organisation
    :param display_name: what people see, up to 100 characters
    :param query: the query that finds its members, such as ``PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))``
    :param groups: static groups, 10 at the most
    :param included_members: ids that are always members, by the API's first generation; not together with groups
    :param excluded_members: ids that are never members, by the API's first generation; not together with groups
    :param base_table: ``contact`` or ``lead``
    :param description: what the segment is for, as people read it in Dynamics 365
    :param static_snapshot: True freezes the members as of each publish
    :param refresh_interval_minutes: minutes between evaluations; the service may choose another cadence
    :param business_unit_id: the owner, where business units are in use
    """

    key: str
    display_name: str
    query: str = ""
    groups: tuple[MemberGroup, ...] = ()
    included_members: tuple[str, ...] = ()
    excluded_members: tuple[str, ...] = ()
    base_table: str = "contact"
    description: str | None = None
    static_snapshot: bool = False
    refresh_interval_minutes: int | None = None
    business_unit_id: str | None = None

    @property
    def segment_id(self) -> str:
        """The id of the segment row."""
        return id_of(self.key)

    @property
    def definition_id(self) -> str:
        """The id of the definition row."""
        return definition_id_of(self.segment_id)

    def with_group_ids(self, there: tuple[MemberGroup, ...] = ()) -> SegmentSpec:
        """Return the spec with the id of each group.

        :param there: the groups of the segment as it is
        """
        return replace(self, groups=with_ids(self.segment_id, self.groups, there))


def check(spec: SegmentSpec) -> None:
    """Check what the service would refuse, or accept and misread.

    :param spec: the segment
    :raises CijInputError: naming what is wrong
    """
    name = f"The segment {spec.display_name!r}"
    if not isinstance(spec.key, str) or not spec.key.strip():
        raise CijInputError(f"{name} has an empty key.")
    check_name(name, spec.display_name)
    check_query(name, spec.query, spec.base_table)
    if not spec.query.strip() and not spec.groups and not spec.included_members:
        raise CijInputError(f"{name} has neither a query nor a group: it could never have members.")
    check_groups(name, spec.groups)
    _check_older_generation(name, spec)
    check_interval(name, spec.refresh_interval_minutes)
    if spec.business_unit_id is not None:
        business_unit(spec.business_unit_id)


def check_name(name: str, display_name: str) -> None:
    """Check that a name is neither empty nor too long."""
    if not isinstance(display_name, str) or not display_name.strip() or len(display_name) > LONGEST_NAME:
        raise CijInputError(f"{name}: display_name must have 1 to {LONGEST_NAME} characters.")


def check_query(name: str, query: str, base_table: str = "") -> None:
    """Check that a query is whole, and does not certainly find rows of another table.

    :param name: what the query belongs to, for the error
    :param query: the text
    :param base_table: the table whose rows are members; ``""`` when it is not known
    :raises CijInputError: naming what is wrong
    """
    if not isinstance(query, str):
        raise CijInputError(f"{name}: its query is a {type(query).__name__}.", hint="Give text, or leave it out.")
    if trouble := unbalanced(query):
        raise CijInputError(f"{name}: its query has {trouble}.", hint=f"The query is {query!r}.")
    found = tables_found(query)
    if base_table and found and base_table.lower() not in found:
        raise CijInputError(
            f"{name}: its query is over {', '.join(map(repr, found))}, and its members are rows of {base_table!r}.",
            hint=f"Begin the query with PROFILE({base_table}), or give the segment another base table.",
        )


_QUOTED = re.compile(r"'[^']*'")
_PROFILE = re.compile(r"\bPROFILE\s*\(\s*(\w+)", re.IGNORECASE)
# After these steps and sources a query may find rows of a table that no PROFILE names.
_LEADS_ELSEWHERE = re.compile(r"\b(?:TRAVERSE|RELATE\w*|SEGMENT|INTERACTION)\s*\(", re.IGNORECASE)


def tables_found(query: str) -> list[str]:
    """Return the tables that the rows found by a query come from, in lower case; none where that is not certain."""
    text = _QUOTED.sub("''", query)
    if _LEADS_ELSEWHERE.search(text):
        return []
    return list(dict.fromkeys(table.lower() for table in _PROFILE.findall(text)))


def check_interval(name: str, minutes: int | None) -> None:
    """Check a refresh interval, in minutes."""
    if minutes is not None:
        whole_number(f"{name}: refresh_interval_minutes", minutes, 1)


def check_groups(name: str, groups: tuple[MemberGroup, ...]) -> None:
    """Check the number of groups, and that their names and ids differ."""
    if len(groups) > MOST_GROUPS:
        raise CijInputError(f"{name} has {len(groups):,} groups; the service allows {MOST_GROUPS}.")
    for group in groups:
        if not isinstance(group.name, str) or not isinstance(group.include, bool):
            wrong = "include" if isinstance(group.name, str) else "name"
            kind = type(getattr(group, wrong)).__name__
            hint = "Give a text for name, and True or False for include."
            raise CijInputError(f"{name}: {wrong} of a group is of type {kind}.", hint=hint)
    for what in ("name", "group_id"):
        values = [getattr(group, what) for group in groups if getattr(group, what)]
        if len(set(values)) < len(values):
            raise CijInputError(f"{name} has two groups of the same {what}: {', '.join(values)}.")
    if not all(group.name.strip() for group in groups):
        raise CijInputError(f"{name} has a group without a name.")


def _check_older_generation(name: str, spec: SegmentSpec) -> None:
    if spec.groups and (spec.included_members or spec.excluded_members):
        raise CijInputError(
            f"{name} has groups as well as included_members or excluded_members.",
            hint="These are two generations of the same thing: use groups.",
        )
    for what, longest in _LONGEST.items():
        if len(_joined(getattr(spec, what))) > longest:
            raise CijInputError(
                f"{name}: {what} holds {len(getattr(spec, what)):,} ids; the service takes {(longest + 1) // 37:,}.",
                hint="Use a group with include=False: it holds 200,000." if what.startswith("ex") else "Use groups.",
            )


def _joined(ids: tuple[str, ...]) -> str:
    keys, bad = pack_guids(ids)
    if bad:  # its text stays out of the error: it may be an address
        raise CijInputError(f"Entry {bad[0] + 1} of included_members or excluded_members is no GUID.")
    return ",".join(unpack_guids(keys))


def unbalanced(text: str) -> str:
    """Return which bracket or quote of a query has no partner; ``""`` when all have one."""
    depth, quoted = 0, False
    for position, letter in enumerate(text, start=1):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
            if depth < 0:
                return f"a ')' too many at position {position}"
    if quoted:
        return "a quote (') that is never closed"
    return f"{depth} '(' never closed" if depth else ""


def definition_row(spec: SegmentSpec) -> dict[str, Any]:
    """Return the columns of the definition, without its id and status."""
    row: dict[str, Any] = {
        "msdynmkt_segmentquery": spec.query.strip(),
        "msdynmkt_disablesegmentrefresh": spec.static_snapshot,
    }
    # Two generations of the same thing, which never go together.
    if spec.included_members or spec.excluded_members:
        row["msdynmkt_includedmembers"] = _joined(spec.included_members)
        row["msdynmkt_excludedmembers"] = _joined(spec.excluded_members)
    else:
        row["msdynmkt_staticlistmembers"] = groups_text(spec.groups)
    if spec.refresh_interval_minutes is not None:
        row["msdynmkt_segmentrefreshintervalminutes"] = spec.refresh_interval_minutes
    return row


def segment_row(spec: SegmentSpec) -> dict[str, Any]:
    """Return the columns of the segment, without its id and status."""
    row: dict[str, Any] = {
        "msdynmkt_displayname": spec.display_name,
        "msdynmkt_type": _DYNAMIC if spec.query.strip() else _STATIC,
        "msdynmkt_source": _REAL_TIME,
        "msdynmkt_baseentitylogicalname": spec.base_table,
        "msdynmkt_sourcesegmentuid": spec.definition_id,
    }
    if spec.description is not None:
        row["msdynmkt_description"] = spec.description
    if spec.business_unit_id is not None:
        row |= owner(spec.business_unit_id)
    return row


def owner(business_unit_id: str) -> dict[str, str]:
    """Return the column that binds the owning business unit; writable where modernised business units are on."""
    return {"owningbusinessunit@odata.bind": f"/businessunits({business_unit(business_unit_id)})"}


def business_unit(value: str) -> str:
    """Return the id of a business unit, in lower case.

    :param value: the id in any spelling
    :raises CijInputError: the value is blank, or no GUID
    """
    if not str(value).strip():
        raise CijInputError("business_unit_id is empty.", hint="Give the id of a business unit, or leave it out.")
    return normalize_guid(value, "business_unit_id")
