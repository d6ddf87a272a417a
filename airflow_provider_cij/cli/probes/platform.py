"""What is assumed of Dataverse itself, where its documents contradict each other or are silent."""

from __future__ import annotations

from typing import Any

from airflow_provider_cij.cli.outcome import NotTriedError, Outcome, accepted
from airflow_provider_cij.cli.own_rows import CONTACTS
from airflow_provider_cij.cli.probing import Organisation
from airflow_provider_cij.dataverse.odata import URL_LIMIT, query, quote_option, row_path

_SETS = {"roles": "roleid", "contacts": "contactid", "systemusers": "systemuserid"}
_LONG_AGO = "2001-02-03T04:05:06Z"


async def _top_and_page_size(org: Organisation) -> str:
    for entity_set, key in _SETS.items():
        path = query(entity_set, select=(key,), top=2)
        outcome = await org.attempt("GET", path)
        if len(_rows(outcome)) < 2:
            continue
        sized = (await org.attempt("GET", path, Prefer="odata.maxpagesize=1")).checked()
        more = "@odata.nextLink" in sized.body
        return "$top" if len(_rows(sized)) == 2 else "odata.maxpagesize" if more else "one row"
    raise NotTriedError("no table of two rows can be read")


async def _not_equal(org: Organisation) -> str:
    rows = _rows(await org.attempt("GET", query(CONTACTS, select=("contactid",), where="jobtitle eq null", top=1)))
    contact = rows[0]["contactid"] if rows else (await org.contacts(1))[0] if org.writes else ""
    if not contact:
        raise NotTriedError("no contact can be read, and --write was not given")
    where = f"contactid eq {contact} and jobtitle ne 'cij-probe-none'"
    found = await org.rows(query(CONTACTS, select=("contactid",), where=where))
    return "matched" if found else "not matched"


async def _long_url(org: Organisation) -> str:
    where = f"lastname eq '{'x' * (URL_LIMIT + 500)}'"
    return accepted(await org.attempt("GET", query(CONTACTS, select=("contactid",), where=where, top=1)))


async def _fetchxml_of_another_set(org: Organisation) -> str:
    fetch = '<fetch top="1"><entity name="lead"><attribute name="leadid"/></entity></fetch>'
    return accepted(await org.attempt("GET", f"{CONTACTS}?fetchXml={quote_option(fetch)}"))


async def _duplicates(org: Organisation) -> str:
    row = {"lastname": org.name, "emailaddress1": f"{org.name}-twice@example.invalid"}
    header = {"MSCRM.SuppressDuplicateDetection": "false"}
    _, first = await org.make(CONTACTS, row, **header)
    first.needed("a contact can't be made")
    return accepted((await org.make(CONTACTS, row, **header))[1])


async def _kept_columns(org: Organisation) -> str:
    row_id, outcome = await org.make(CONTACTS, {"lastname": org.name, "createdon": _LONG_AGO})
    outcome.checked()
    found = await org.read(query(row_path(CONTACTS, row_id), select=("createdon",)))
    return "written" if str(found.get("createdon")) == _LONG_AGO else "ignored"


async def _update(org: Organisation, *targets: dict[str, str], verb: str = "Update") -> Outcome:
    typed = [{"@odata.type": "Microsoft.Dynamics.CRM.contact", "jobtitle": "probe", **each} for each in targets]
    outcome = await org.attempt("POST", f"{CONTACTS}/Microsoft.Dynamics.CRM.{verb}Multiple", {"Targets": typed})
    if outcome.missing:
        raise NotTriedError(f"contacts have no {verb}Multiple")
    return outcome


async def _own_contact(org: Organisation) -> str:
    row_id, outcome = await org.make(CONTACTS, {"lastname": org.name})
    outcome.needed("a contact can't be made")
    return row_id


async def _update_by_link(org: Organisation) -> str:
    contact = await _own_contact(org)
    return accepted(await _update(org, {"@odata.id": row_path(CONTACTS, contact)}))


async def _same_row_twice(org: Organisation) -> str:
    contact = await _own_contact(org)
    return accepted(await _update(org, {"contactid": contact}, {"contactid": contact}))


async def _upsert_without_id(org: Organisation) -> str:
    if not org.writes:
        raise NotTriedError("it needs --write")
    return accepted(await _update(org, {"lastname": org.name}, verb="Upsert"), "created")


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    value = outcome.output("value")
    return value if outcome.ok and isinstance(value, list) else []


PROBES = {
    "platform.top-and-page-size": _top_and_page_size,
    "platform.not-equal": _not_equal,
    "platform.long-url": _long_url,
    "platform.fetchxml-of-another-set": _fetchxml_of_another_set,
    "platform.duplicates": _duplicates,
    "platform.kept-columns": _kept_columns,
    "platform.update-by-link": _update_by_link,
    "platform.same-row-twice": _same_row_twice,
    "platform.upsert-without-id": _upsert_without_id,
}
