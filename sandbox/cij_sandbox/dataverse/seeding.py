"""Contacts and leads: the same seed makes the same people, whatever their number."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import fetch, insert, insert_many
from cij_sandbox.dataverse.tables import (
    ACCOUNT,
    BUSINESS_UNIT,
    BUSINESS_UNIT_ID,
    CLIENT_ID,
    CONTACT,
    LEAD,
    ORGANIZATION,
    ORGANIZATION_ID,
    ROLE,
    SYSTEM_USER,
    USER_ID,
    USER_ROLE,
)

_FIRST = [
    "Ada", "Björn", "Chloé", "Daniel", "Élodie", "Fatima", "Giulia", "Hans", "Ines", "João", "Katarzyna", "Liam",
    "Maria", "Noah", "Olga", "Pablo", "Quinn", "Rosa", "Søren", "Tomáš",
]  # fmt: skip
_LAST = [
    "Andersen", "Bauer", "Costa", "Dubois", "Esposito", "Fischer", "García", "Hansen", "Ivanova", "Jensen",
    "Kowalska", "López", "Müller", "Novák", "O'Neill", "Petrova", "Rossi", "Schmidt", "Török", "Weber",
]  # fmt: skip
_PLACES = (
    ("Copenhagen", "Capital Region", "Denmark", "1050"),
    ("Munich", "Bavaria", "Germany", "80331"),
    ("Lyon", "Auvergne-Rhône-Alpes", "France", "69001"),
    ("Seattle", "WA", "United States", "98101"),
    ("Portland", "OR", "United States", "97201"),
    ("London", "England", "United Kingdom", "SW1A"),
    ("Madrid", "Community of Madrid", "Spain", "28001"),
    ("Prague", "Prague", "Czechia", "11000"),
)
_COUNTIES = ("King", "Kings", "Upper Bavaria", "Rhône", "Greater London", "Multnomah")
_DOMAINS = ("contoso.com", "fabrikam.com", "adatum.com", "tailspintoys.com", "example.org")
_STREETS = ("Main Street", "Station Road", "Hauptstraße", "Rue de la Paix", "Harbour Way")
_COMPANIES = (
    "Contoso", "Fabrikam", "Adatum", "Tailspin Toys", "Northwind Traders", "Litware", "Proseware", "Wingtip Toys",
)  # fmt: skip
_ROLES = ("Marketing Professional - Business", "Basic User")
_FIRST_DAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())

T = TypeVar("T")


def seed(store: Store, contacts: int, leads: int, number: int) -> None:
    """Write the organisation and, into tables that are empty, the people; ``number`` chooses which people."""
    with store.transaction() as connection:
        if fetch(connection, ORGANIZATION, ORGANIZATION_ID) is None:
            insert(connection, ORGANIZATION, {"organizationid": ORGANIZATION_ID, "name": "CIJ sandbox"})
            insert(connection, BUSINESS_UNIT, {"businessunitid": BUSINESS_UNIT_ID, "name": "CIJ sandbox"})
            user = {"systemuserid": USER_ID, "fullname": "# CIJ sandbox application", "applicationid": CLIENT_ID}
            insert(connection, SYSTEM_USER, {**user, "isdisabled": 0, "businessunitid": BUSINESS_UNIT_ID})
            for name in _ROLES:
                role_id = stable_id("role", name)
                insert(connection, ROLE, {"roleid": role_id, "name": name})
                given = {"systemuserrolesid": stable_id("systemuserroles", name), "systemuserid": USER_ID}
                insert(connection, USER_ROLE, {**given, "roleid": role_id})
            for account_id, name in zip(_ACCOUNTS, _COMPANIES, strict=True):
                insert(connection, ACCOUNT, {"accountid": account_id, "name": name, "statecode": 0, "statuscode": 1})
        for table, count in ((CONTACT, contacts), (LEAD, leads)):
            if not connection.execute(f'SELECT 1 FROM "{table.logical_name}" LIMIT 1').fetchone():
                dice = random.Random(f"{table.logical_name}:{number}")  # noqa: S311 - made-up people
                insert_many(connection, table, _people(table, count, dice), count)


def insert_named(connection: sqlite3.Connection, table: Table, name: str, **content: SqlValue) -> None:
    """Insert a row whose id depends on its name alone, so that it is the same in every sandbox."""
    key = {table.key: stable_id(table.logical_name, name)}
    insert(connection, table, {"statecode": 0, "statuscode": 1, **key, "msdynmkt_name": name, **content})


def stable_id(kind: str, name: str) -> str:
    """Return an id that is the same in every sandbox."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:{kind}:{name}"))


_ACCOUNTS = [stable_id("account", name) for name in _COMPANIES]


def _people(table: Table, count: int, dice: random.Random) -> Iterator[dict[str, SqlValue]]:
    """Yield people. Each takes the same number of random draws, so that the first N do not depend on the count."""
    email: str | None = None
    for number in range(count):
        draws = [dice.random() for _ in range(20)]
        first, last = _pick(_FIRST, draws[0]), _pick(_LAST, draws[1])
        city, state, country, postcode = _pick(_PLACES, draws[2])
        if draws[3] >= 0.02 or email is None:  # two in a hundred share the address of the one before
            email = f"{first}.{last}.{number}@{_pick(_DOMAINS, draws[4])}".replace("'", "")
            email = email if draws[5] < 0.15 else email.lower()
        created = _FIRST_DAY + number % 500_000 * 60
        person: dict[str, SqlValue] = {
            table.key: str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            "firstname": first,
            "lastname": last,
            "fullname": f"{first} {last}",
            "new_customerno": f"{table.schema_name[0]}{number:07d}",
            "emailaddress1": None if draws[6] < 0.05 else email,
            "telephone1": None if draws[7] < 0.3 else f"+1 555 {int(draws[7] * 10_000_000):07d}",
            "mobilephone": None if draws[8] < 0.5 else f"+1 556 {int(draws[8] * 10_000_000):07d}",
            "address1_line1": f"{1 + int(draws[9] * 200)} {_pick(_STREETS, draws[10])}",
            "address1_city": city,
            "address1_county": None if draws[11] < 1 / 3 else _pick(_COUNTIES, draws[12]),
            "address1_stateorprovince": state,
            "address1_postalcode": postcode,
            "address1_country": country,
            "preferredcontactmethodcode": 1 + int(draws[13] * 5),
            "donotbulkemail": int(draws[14] < 0.1),
            "donotemail": int(draws[14] < 0.03),
            "statecode": 0,
            "statuscode": 1,
            "owningbusinessunit": BUSINESS_UNIT_ID,
            "ownerid": USER_ID,
            "createdon": created,
            "modifiedon": created,
        }
        yield {**person, **(_contact(draws, number) if table is CONTACT else _lead(draws, last))}


def _contact(draws: list[float], number: int) -> dict[str, SqlValue]:
    inactive = draws[15] < 0.04
    return {
        # Counted, not drawn: another draw would make other people of the same seed.
        "parentcustomerid": _ACCOUNTS[number // 2 % len(_ACCOUNTS)] if number % 2 else None,
        "birthdate": None if draws[16] < 0.2 else f"{1940 + int(draws[16] * 70)}-{1 + int(draws[17] * 12):02d}-15",
        "gendercode": None if draws[17] < 0.1 else 1 + int(draws[18] * 2),
        "customertypecode": 1,
        "creditlimit": None if draws[19] < 0.4 else round(draws[19] * 20_000, 2),
        "annualincome": None if draws[18] < 0.25 else int(draws[18] * 200) * 1000,
        "numberofchildren": None if draws[16] < 0.3 else int(draws[19] * 5),
        "statecode": int(inactive),
        "statuscode": 2 if inactive else 1,
    }


def _lead(draws: list[float], last: str) -> dict[str, SqlValue]:
    return {
        "subject": f"Interested in {_pick(('the newsletter', 'a demo', 'the spring sale'), draws[15])}",
        "companyname": None if draws[16] < 0.2 else f"{last} & Co",
        "leadqualitycode": 1 + int(draws[17] * 3),
        "leadsourcecode": None if draws[18] < 0.3 else 1 + int(draws[18] * 4),
        "revenue": None if draws[19] < 0.4 else int(draws[19] * 5000) * 1000,
        "numberofemployees": None if draws[18] < 0.3 else int(draws[18] * 900),
    }


def _pick(choices: Sequence[T], draw: float) -> T:
    return choices[int(draw * len(choices))]
