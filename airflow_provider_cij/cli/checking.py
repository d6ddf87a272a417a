"""The checks of ``airflow cij check``. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.consent.consent_to import ConsentTo
from airflow_provider_cij.api.consent.target import recipient_column
from airflow_provider_cij.api.custom_apis import custom_api
from airflow_provider_cij.api.organisation import (
    describe_user,
    missing_actions,
    privileges_of,
    readable,
    type_of,
    version_of,
)
from airflow_provider_cij.cli.needs import NEEDS, PURPOSE, SEGMENT, SETS, TRIGGER, Needs
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import literal, query
from airflow_provider_cij.errors import CijError, CijForbiddenError

OK, MISSING, UNKNOWN, ABSENT, NO_CONNECTION = "ok", "missing", "unknown", "absent", "failed"
"""The states of a finding. ``absent`` is something optional that the organisation does not have."""

_CHECK_CONSENT = "msdynmkt_checkconsent"
_ROLES = "In the Power Platform admin center, give the application user a role with it."
_LIMIT_HEADERS = {
    "x-ms-ratelimit-burst-remaining-xrm-requests": "requests left in 5 minutes",
    "x-ms-ratelimit-time-remaining-xrm-requests": "execution time left in 5 minutes",
    "x-ms-dop-hint": "recommended requests at once",
}
_READY = 534120002
# Seconds. A wait for an evaluation compares Airflow's clock with the service's.
_CLOCK_TOLERANCE = 60


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    :param state: ``ok``, ``missing``, ``unknown``, ``absent`` or ``failed``
    :param subject: what was checked
    :param text: the result
    :param mend: how to fix it; default ``""``, nothing is to be fixed
    """

    state: str
    subject: str
    text: str
    mend: str = ""


@dataclass(frozen=True)
class _Facts:
    """What the organisation allows.

    :param unreadable: the errors of tables that can't be read, by table
    :param privileges: the user's privileges; None when they can't be read
    :param no_action: the actions that are missing
    """

    unreadable: Mapping[str, CijError]
    privileges: frozenset[str] | None
    no_action: frozenset[str]


async def findings_of(cij: Cij) -> list[Finding]:
    """Check an organisation.

    :param cij: an open session
    :return: the findings, the connection first
    :raises CijError: the login failed, or the service does not know the user
    """
    client = cij.dataverse
    me = await client.get("WhoAmI")
    user_id, settings = str(me.get("UserId")), client.settings
    kind = await type_of(client)
    found = [
        Finding(OK, "connection", f"{settings.base_url}, Web API {settings.api_version}"),
        Finding(OK, "user", await describe_user(client, user_id)),
        Finding(OK, "organisation", f"{me.get('OrganizationId')}" + (f", of type {kind}" if kind else "")),
        Finding(OK, "version", f"Dataverse {await version_of(client)}"),
    ]
    privileges = await privileges_of(client, user_id)
    if privileges is None:
        found.append(Finding(UNKNOWN, "privileges", "The service does not list them: only reads were tried."))
    else:
        found.append(Finding(OK, "privileges", f"{len(privileges):,} through roles"))
    unreadable: dict[str, CijError] = {}

    async def read(table: str) -> None:
        if error := await readable(client, table, SETS.get(table, "")):
            unreadable[table] = error

    tables = dict.fromkeys(table for needs in NEEDS for _, table in needs.privileges)
    await for_each(tables, read, client.recommended_concurrency)
    actions = {action for needs in NEEDS for action in needs.actions}
    facts = _Facts(unreadable, privileges, await missing_actions(client, {*actions, _CHECK_CONSENT}))
    found += [_of_class(needs, facts) for needs in NEEDS]
    for part in (_trigger_inputs, _keys, _consent, _email_columns):
        found += await _tried(part, cij, facts)
    return [*found, _clock(client.service_ahead), await _limits(cij)]


def _of_class(needs: Needs, facts: _Facts) -> Finding:
    """Return the finding of an operator, sensor or watcher: whether it can run."""
    lacks, mends, unknown = [], [], []
    if no_action := [action for action in needs.actions if action in facts.no_action]:
        lacks.append(f"action {', '.join(no_action)}")
        mends.append("Update Customer Insights - Journeys in this environment: its version has no such action.")
    for operation, table in needs.privileges:
        error = facts.unreadable.get(table)
        if error and not isinstance(error, CijForbiddenError):
            lacks.append(f"table {table}")
            mends.append("Install or update Customer Insights - Journeys in this environment.")
        elif (operation == "read" and error) or _lacks(facts.privileges, operation, table):
            lacks.append(f"prv{operation.capitalize()}{table}")
            mends.append(_ROLES)
        elif operation != "read" and facts.privileges is None:
            unknown.append(f"{operation} {table}")
    text = f"lacks {', '.join(dict.fromkeys(lacks))}" if lacks else ""
    if needs.outbound and lacks:
        return Finding(
            ABSENT, needs.name, text, "Microsoft removed outbound marketing in 2026: use real-time journeys."
        )
    if lacks:
        return Finding(MISSING, needs.name, text, " ".join(dict.fromkeys(mends)))
    if unknown:
        return Finding(UNKNOWN, needs.name, f"not known whether it may {', '.join(dict.fromkeys(unknown))}")
    return Finding(OK, needs.name, "")


def _lacks(privileges: frozenset[str] | None, operation: str, table: str) -> bool:
    return privileges is not None and f"prv{operation}{table}" not in privileges


async def _tried(part: Any, cij: Cij, facts: _Facts) -> list[Finding]:
    """Return the findings of one check, or the error with which it failed."""
    subject = part.__doc__.removeprefix("Check ").rstrip(".")
    try:
        return list(await part(cij, facts))
    except CijError as error:
        missing = MISSING if error.permanent else UNKNOWN
        return [Finding(missing, subject, error.message, error.hint or (_ROLES if error.permanent else ""))]


async def _trigger_inputs(cij: Cij, facts: _Facts) -> list[Finding]:
    """Check trigger inputs."""
    client, subject = cij.dataverse, "trigger inputs"
    path = query(SETS[TRIGGER], select=("_msdynmkt_customapiid_value",), where=f"msdynmkt_state eq {_READY}", top=1)
    ready = [row for row in await client.rows(path) if row.get("_msdynmkt_customapiid_value")]
    if not ready:
        return [Finding(ABSENT, subject, "no custom trigger is ready to use")]
    api = await custom_api(client, f"customapiid eq {normalize_guid(ready[0]['_msdynmkt_customapiid_value'])}")
    if api.get("CustomAPIRequestParameters"):
        return [Finding(OK, subject, "readable")]
    mend = f"{_ROLES} It needs prvReadCustomAPI and prvReadCustomAPIRequestParameter."
    return [Finding(MISSING, subject, "the inputs of a trigger that is ready to use can't be read", mend)]


async def _keys(cij: Cij, facts: _Facts) -> list[Finding]:
    """Check alternate keys."""
    found = []
    for table in ("contact", "lead"):
        path = query(
            f"EntityDefinitions(LogicalName={literal(table)})",
            select=("LogicalName",),
            expand="Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus)",
        )
        keys = (await cij.dataverse.get(path)).get("Keys") or []
        if not keys:
            text = f"{table} has none: rows are matched by a column, which is slower"
            found.append(
                Finding(ABSENT, "alternate keys", text, f"Define one on the column that tells {table}s apart.")
            )
        for key in keys:
            status = str(key.get("EntityKeyIndexStatus"))
            text = f"{table}: {key.get('LogicalName')} on {', '.join(key.get('KeyAttributes') or ())} is {status}"
            mend = "" if status == "Active" else "Wait for its index, or reactivate the key in Power Apps."
            found.append(Finding(MISSING if mend else OK, "alternate keys", text, mend))
    return found


async def _consent(cij: Cij, facts: _Facts) -> list[Finding]:
    """Check consent settings."""
    client, subject = cij.dataverse, "consent settings"
    purposes = await client.rows(query(f"{PURPOSE}s", select=("msdynmkt_enforcementmodel",)))
    profiles = await client.rows(query("msdynmkt_compliancesettings4s", select=("msdynmkt_name",)))
    models = {row.get("msdynmkt_enforcementmodel") for row in purposes}
    found = [Finding(OK, subject, f"{len(purposes):,} purposes, {len(profiles):,} compliance profiles")]
    if not purposes:
        found = [Finding(MISSING, subject, "there is no purpose", "Create a compliance profile with its purposes.")]
    elif None in models:
        text = "a purpose's enforcement model is empty, which operators treat as restrictive"
        found.append(Finding(UNKNOWN, subject, text))
    if _CHECK_CONSENT in facts.no_action:
        found.append(Finding(ABSENT, subject, f"no action {_CHECK_CONSENT}: consent is decided by the tables"))
    return found


async def _email_columns(cij: Cij, facts: _Facts) -> list[Finding]:
    """Check e-mail column."""
    found = []
    for table in ("contact", "lead"):
        column = await recipient_column(cij.dataverse, ConsentTo(), table)
        found.append(Finding(OK, "e-mail column", f"{table}: {column}"))
    return found


def _clock(ahead: float) -> Finding:
    text = f"the service's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > _CLOCK_TOLERANCE:
        return Finding(MISSING, "clock", text, "Set this machine's clock by NTP: tokens and waits depend on it.")
    return Finding(OK, "clock", text)


async def _limits(cij: Cij) -> Finding:
    path = query(f"{SEGMENT}s", select=(f"{SEGMENT}id",), top=1)
    try:
        headers = (await cij.dataverse.request("GET", path, repeatable=True)).headers
    except CijError as error:
        return Finding(UNKNOWN, "service limits", error.message)
    told = [f"{words} {headers[name]}" for name, words in _LIMIT_HEADERS.items() if headers.get(name)]
    limit = cij.dataverse.settings.max_concurrency
    if not told:
        return Finding(UNKNOWN, "service limits", f"the service sends no header with them; max_concurrency is {limit}")
    return Finding(OK, "service limits", f"{'; '.join(told)}; max_concurrency is {limit}")
