"""Upserts on a real sandbox: what is created, changed, left alone and refused, and with how many requests."""

from __future__ import annotations

import pytest

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.records import client
from airflow_provider_cij.api.records.arguments import lookup
from airflow_provider_cij.errors import CijInputError, CijRefusedError

ANY = bound_of("max_invalid", None)
FEW = bound_of("max_failed", None)


def people(count, **more):
    """Return rows with customer numbers."""
    return [{"new_customerno": f"N{n:05d}", "lastname": f"Name {n}", **more} for n in range(count)]


def there(contents, columns="new_customerno,lastname"):
    """Return the contacts by their customer number."""
    rows = contents.rows(f"contacts?$select={columns}")
    by_number = {row["new_customerno"]: row for row in rows}
    assert len(by_number) == len(rows)
    return by_number


def test_rows_are_created_then_changed_then_left_alone(upsert, contents):
    """The first run creates all rows, a second one sends what differs, a third one sends nothing."""
    assert upsert("contact", people(250), key="new_customerno")[0] == {"read": 250, "created": 250}
    before = contents.last()
    changed = [row | {"lastname": "Other"} if n % 50 == 0 else row for n, row in enumerate(people(260))]
    counts, rejected, ids = upsert("contact", changed, key="new_customerno")
    assert counts == {"read": 260, "created": 10, "updated": 5, "unchanged": 245}
    assert (rejected, len(dict(ids))) == ([], 260)
    assert sorted(contents.writes(before)) == ["UpdateMultiple", "UpsertMultiple"]
    before = contents.last()
    assert upsert("contact", changed, key="new_customerno")[0] == {"read": 260, "unchanged": 260}
    assert contents.writes(before) == []
    found = there(contents)
    assert {number: row["lastname"] for number, row in found.items()} == {
        row["new_customerno"]: row["lastname"] for row in changed
    }
    assert dict(ids) == {number: row["contactid"] for number, row in found.items()}


def test_hundreds_are_sent_and_one_lookup_for_500(upsert, contents):
    """1,000 new rows are 10 writes of 100, and one query for each 500 keys before."""
    before = contents.last()
    upsert("contact", people(1000), key="new_customerno")
    requests = [request["path"] for request in contents.requests() if request["number"] > before]
    assert sum(path.endswith("UpsertMultiple") for path in requests) == 10
    assert sum(path.endswith("/contacts") for path in requests) <= 2 + 10  # on_ids asks for ids of new rows


@pytest.mark.parametrize(("clear_empty", "job"), [(False, "kept"), (True, None)])
def test_a_column_that_first_appears_late_is_written(upsert, contents, clear_empty, job):
    """Without a mapping, a column that only a late row has is written, and empty in the rows before it."""
    upsert("contact", [{"new_customerno": "N00000", "jobtitle": "kept"}], key="new_customerno")
    rows = [*people(1200), {"new_customerno": "late", "lastname": "Late", "jobtitle": "last"}]
    upsert("contact", rows, key="new_customerno", clear_empty=clear_empty)
    found = there(contents, "new_customerno,jobtitle")
    assert (found["late"]["jobtitle"], found["N00000"]["jobtitle"], len(found)) == ("last", job, 1201)


def test_an_unknown_column_that_first_appears_late_is_refused(upsert, contents):
    """Without a mapping, a column that the table lacks is refused by name wherever it stands."""
    before = contents.last()
    with pytest.raises(CijInputError, match="no column 'nickel'"):
        upsert("contact", [*people(1200), {"new_customerno": "late", "nickel": 1}], key="new_customerno")
    assert contents.writes(before) == []


def test_a_mapped_column_that_no_row_has_is_refused(upsert, contents):
    """A mapped name that no row has is refused by name; one that a single late row has is not."""
    columns = {"no": "new_customerno", "nmae": "lastname"}
    rows = [{"no": f"N{n}"} for n in range(1200)]
    before = contents.last()
    with pytest.raises(CijInputError, match="No row has 'nmae', which columns maps"):
        upsert("contact", rows, key="new_customerno", columns=columns)
    assert contents.writes(before) == []
    rows.append({"no": "late", "nmae": "Late"})
    assert upsert("contact", rows, key="new_customerno", columns=columns)[0] == {"read": 1201, "created": 1201}


def test_a_key_in_other_case_is_the_same_row(upsert, contents):
    """A key that differs in case only finds the row."""
    upsert("contact", [{"new_customerno": "abc", "lastname": "A"}], key="new_customerno")
    counts, _, _ = upsert("contact", [{"new_customerno": " ABC ", "lastname": "B"}], key="new_customerno")
    assert counts == {"read": 1, "updated": 1}
    assert there(contents)["abc"]["lastname"] == "B"


def test_update_only_lists_who_is_missing(upsert, contents):
    """update_only creates nobody, counts who is missing, and lists the lines."""
    upsert("contact", people(2), key="new_customerno")
    rows = [row | {"lastname": "New"} for row in people(4)]
    counts, rejected, _ = upsert("contact", rows, key="new_customerno", mode="update_only")
    assert counts == {"read": 4, "updated": 2, "not_found": 2}
    assert rejected == [(3, "no row has its key"), (4, "no row has its key")] or sorted(rejected) == rejected[::-1]
    assert len(there(contents)) == 2


def test_create_only_leaves_rows_alone(upsert, contents):
    """create_only creates the missing rows under ids that derive from the key, and leaves the others as they are."""
    upsert("contact", people(2), key="new_customerno")
    rows = [row | {"lastname": "New"} for row in people(4)]
    counts, _, ids = upsert("contact", rows, key="new_customerno", mode="create_only")
    assert counts == {"read": 4, "created": 2, "existing": 2}
    found = there(contents)
    assert [found[f"N{n:05d}"]["lastname"] for n in range(4)] == ["Name 0", "Name 1", "New", "New"]
    assert dict(ids) == {number: row["contactid"] for number, row in found.items()}


def test_leads_without_an_alternate_key_get_ids_of_their_key(upsert, contents):
    """A lead whose key is an address is created once, with an id that derives from the address."""
    rows = [{"emailaddress1": f"p{n}+tag@contoso.com", "lastname": f"L{n}"} for n in range(120)]
    _, _, first = upsert("lead", rows, key="emailaddress1")
    contents.delete_all("leads", "leadid")
    before = contents.last()
    counts, _, second = upsert("lead", rows, key="emailaddress1")
    assert (counts, sorted(second)) == ({"read": 120, "created": 120}, sorted(first))
    assert contents.writes(before) == ["CreateMultiple"] * 2


def test_rows_are_upserted_by_their_own_ids(upsert, contents):
    """With the primary id as the key, a missing row is created under that id, and an existing one changed."""
    upsert("contact", people(1), key="new_customerno")
    (row,) = there(contents).values()
    rows = [
        {"contactid": row["contactid"].upper(), "lastname": "Changed"},
        {"contactid": "{11111111-2222-3333-4444-555555555555}", "lastname": "New"},
    ]
    counts, _, ids = upsert("contact", rows, key="contactid")
    assert counts == {"read": 2, "created": 1, "updated": 1}
    names = {found["contactid"]: found["lastname"] for found in contents.rows("contacts?$select=lastname")}
    assert names == {row["contactid"]: "Changed", "11111111-2222-3333-4444-555555555555": "New"}
    assert {row_id for (row_id,) in ids} == set(names)


@pytest.fixture
def twins(contents):
    """Create two contacts with one address; return their ids, the older one first."""
    ids = [f"00000000-0000-0000-0000-00000000000{n}" for n in (2, 1)]
    for day, row_id in enumerate(ids, 1):
        body = {"contactid": row_id, "emailaddress1": "twin@contoso.com", "overriddencreatedon": f"2020-01-0{day}"}
        contents.post("contacts", {name: value for name, value in body.items() if name != "overriddencreatedon"})
    return ids


@pytest.mark.parametrize(("choice", "changed"), [("oldest", 1), ("all", 2), ("refuse", 0)])
def test_several_rows_with_one_key(upsert, contents, twins, choice, changed):
    """Where several rows have a key, the oldest or all are changed, or the row fails."""
    counts, rejected, _ = upsert(
        "contact",
        [{"emailaddress1": "TWIN@contoso.com", "lastname": "Changed"}],
        key="emailaddress1",
        on_multiple_matches=choice,
        max_failed=FEW,
    )
    names = [row["lastname"] for row in contents.rows("contacts?$select=lastname")]
    assert names.count("Changed") == changed
    assert counts == {"read": 1, "updated" if changed else "failed": 1}
    assert rejected == ([] if changed else [(1, "2 rows have its key")])


def test_values_are_read_by_the_type_of_their_column(upsert, contents):
    """Choices by label or number, numbers, dates and switches come from texts as a file has them."""
    row = {
        "new_customerno": "1",
        "gendercode": "female",
        "preferredcontactmethodcode": "3",
        "creditlimit": "12.50",
        "numberofchildren": "2",
        "birthdate": "1990-02-03T00:00:00",
        "donotemail": "yes",
        "jobtitle": 4711.0,
    }
    upsert("contact", [row], key="new_customerno")
    (found,) = contents.rows(f"contacts?$select={','.join(row)}")
    assert {name: found[name] for name in row} == {
        "new_customerno": "1",
        "gendercode": 2,
        "preferredcontactmethodcode": 3,
        "creditlimit": 12.5,
        "numberofchildren": 2,
        "birthdate": "1990-02-03",
        "donotemail": True,
        "jobtitle": "4711",
    }
    assert upsert("contact", [row], key="new_customerno")[0] == {"read": 1, "unchanged": 1}


def test_an_empty_value_is_left_alone_or_cleared(upsert, contents):
    """An empty value leaves its column alone, and with clear_empty clears it."""
    upsert("contact", [{"new_customerno": "1", "lastname": "A", "jobtitle": "B"}], key="new_customerno")
    empty = [{"new_customerno": "1", "lastname": " ", "jobtitle": None}]
    assert upsert("contact", empty, key="new_customerno")[0] == {"read": 1, "unchanged": 1}
    assert upsert("contact", empty, key="new_customerno", clear_empty=True)[0] == {"read": 1, "updated": 1}
    (row,) = contents.rows("contacts?$select=lastname,jobtitle")
    assert (row["lastname"], row["jobtitle"]) == (None, None)


def test_lookups_are_found_by_a_value(upsert, contents):
    """A lookup is bound to the row that has a value; a value of no row, or of several, is an invalid row."""
    names = [row["name"] for row in contents.rows("accounts?$select=name")][:2]
    rows = [
        {"no": "1", "company": names[0].upper()},
        {"no": "2", "company": names[1]},
        {"no": "3", "company": "Nobody & Sons"},
        {"no": "4", "company": ""},
    ]
    columns = {"no": "new_customerno", "company": lookup("account", "name", column="parentcustomerid")}
    counts, rejected, _ = upsert("contact", rows, key="new_customerno", columns=columns, max_invalid=ANY)
    assert counts == {"read": 4, "invalid": 1, "created": 3}
    assert rejected == [(3, "parentcustomerid: no row has this value")]
    accounts = {row["accountid"]: row["name"] for row in contents.rows("accounts?$select=name")}
    found = there(contents, "new_customerno,_parentcustomerid_value")
    bound = {number: accounts.get(row["_parentcustomerid_value"]) for number, row in found.items()}
    assert bound == {"1": names[0], "2": names[1], "4": None}
    again = upsert("contact", rows, key="new_customerno", columns=columns, max_invalid=ANY)[0]
    assert again == {"read": 4, "invalid": 1, "unchanged": 3}


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        ("nickel", {"key": "name"}, "no table 'nickel'"),
        ("contact", {"key": "nickel", "columns": {"a": "new_customerno"}}, "is mapped to 'nickel'"),
        ("contact", {"key": "new_customerno", "columns": {"a": "new_customerno", "b": "nickel"}}, "no column 'nickel'"),
        ("contact", {"key": "new_customerno", "columns": {"a": "new_customerno", "b": "fullname"}}, "read-only"),
        (
            "contact",
            {"key": "new_customerno", "columns": {"a": "new_customerno", "b": "parentcustomerid"}},
            r"lookup\(table, key\)",
        ),
        (
            "contact",
            {
                "key": "new_customerno",
                "columns": {"a": "new_customerno", "b": lookup("lead", column="parentcustomerid")},
            },
            "refers to 'account', not to 'lead'",
        ),
    ],
)
def test_a_wrong_mapping_is_refused_before_the_first_write(upsert, contents, table, options, words):
    """A table or column that is unknown, read-only or no lookup is named, and nothing is written."""
    before = contents.last()
    with pytest.raises(CijInputError, match=words):
        upsert(table, [{"a": "1", "b": "2", "new_customerno": "1"}], **options)
    assert contents.writes(before) == []


def test_a_key_whose_index_is_not_active_is_refused_with_its_status(upsert, contents):
    """An alternate key that is not Active is named with its status, and nothing is written."""
    for place in ("a", "b"):
        contents.post("leads", {"new_customerno": "same", "lastname": place})
    contents.post(
        "EntityDefinitions(LogicalName='lead')/Keys",
        {"SchemaName": "new_LeadNo", "KeyAttributes": ["new_customerno"]},
    )
    before = contents.last()
    with pytest.raises(CijInputError, match="'new_leadno' of table 'lead' is Failed, not Active"):
        upsert("lead", [{"new_customerno": "1"}], key="new_customerno")
    assert contents.writes(before) == []


INVALID = [
    ({"new_customerno": "", "lastname": "x"}, "new_customerno: empty, and the key needs it"),
    ({"new_customerno": "a/b"}, "new_customerno: a key can't hold any of / < > * % & : \\ ? +"),
    ({"new_customerno": "n" * 21}, "new_customerno: longer than 20 characters"),
    ({"new_customerno": "2", "lastname": "x" * 51}, "lastname: longer than 50 characters"),
    ({"new_customerno": "3", "gendercode": "Whale"}, "gendercode: an unknown choice"),
    ({"new_customerno": "4", "birthdate": "yesterday"}, "birthdate: no date such as 2026-12-31"),
    ({"new_customerno": "5", "creditlimit": "-1"}, "creditlimit: outside 0 to 100,000,000,000"),
    ({"new_customerno": "6", "numberofchildren": 1.5}, "numberofchildren: no whole number"),
    ({"new_customerno": "7", "donotemail": "perhaps"}, "donotemail: neither true nor false"),
]


def test_invalid_rows_are_listed_with_line_and_reason_and_nothing_is_written(upsert, contents, caplog_all):
    """Each invalid row has its line and reason, none of its values is logged, and too many refuse the list."""
    rows = [{"new_customerno": "1", "lastname": "good"}, *(row for row, _ in INVALID)]
    columns = {name: name for name in dict.fromkeys(name for row in rows for name in row)}
    before = contents.last()
    with pytest.raises(CijInputError, match="9 of 10 rows are invalid, more than max_invalid=0"):
        upsert("contact", rows, key="new_customerno", columns=columns)
    assert contents.writes(before) == []
    allowed = bound_of("max_invalid", 9)
    counts, rejected, _ = upsert("contact", rows, key="new_customerno", columns=columns, max_invalid=allowed)
    assert counts == {"read": 10, "invalid": 9, "created": 1}
    assert rejected == [(line, reason) for line, (_, reason) in enumerate(INVALID, 2)]
    assert not any(value in caplog_all.text for value in ("Whale", "yesterday", "perhaps", "x" * 51))


@pytest.mark.parametrize(("keep", "name"), [("first", "A"), ("last", "C")])
def test_duplicates_of_the_key_are_counted(upsert, contents, keep, name):
    """Of rows with one key the first or the last counts, and the others are listed with its line."""
    rows = [{"new_customerno": number, "lastname": name} for number, name in (("x", "A"), ("X ", "B"), ("x", "C"))]
    with pytest.raises(CijInputError, match="2 of 3 rows have the key of another row"):
        upsert("contact", rows, key="new_customerno")
    counts, rejected, _ = upsert("contact", rows, key="new_customerno", duplicates=keep)
    assert counts == {"read": 3, "duplicate": 2, "created": 1}
    kept = 1 if keep == "first" else 3
    assert sorted(rejected) == [(line, f"its key is that of line {kept}") for line in (1, 2, 3) if line != kept]
    assert [row["lastname"] for row in there(contents).values()] == [name]


@pytest.fixture
def unique_phones(contents):
    """Give contacts a second alternate key, on the mobile phone, while the test runs."""
    definition = "EntityDefinitions(LogicalName='contact')/Keys"
    contents.post(definition, {"SchemaName": "new_PhoneKey", "KeyAttributes": ["mobilephone"]})
    yield
    contents._web.delete(f"{definition}(LogicalName='new_phonekey')").raise_for_status()


def test_only_the_rows_at_fault_fail_of_a_refused_hundred(upsert, contents, unique_phones):
    """Rows that violate another key fail with its code, and the rest of their hundreds is written."""
    contents.post("contacts", {"mobilephone": "taken", "new_customerno": "holder"})
    rows = people(250)
    for place in (3, 120, 121):
        rows[place]["mobilephone"] = "taken"
    columns = {name: name for name in ("new_customerno", "lastname", "mobilephone")}
    counts, rejected, ids = upsert("contact", rows, key="new_customerno", columns=columns, max_failed=FEW)
    assert counts == {"read": 250, "created": 247, "failed": 3}
    assert sorted(line for line, _ in rejected) == [4, 121, 122]
    assert all(reason.startswith("0x80060892: ") for _, reason in rejected)
    found = there(contents)
    assert len(found) == 248
    assert dict(ids) == {number: row["contactid"] for number, row in found.items() if number != "holder"}
    with pytest.raises(CijRefusedError, match="refused 3 of 250 rows, more than max_failed=0"):
        upsert("contact", rows, key="new_customerno", columns=columns)


def test_a_failed_update_does_not_undo_the_others(upsert, contents, unique_phones):
    """A change that violates another key fails alone, by line."""
    contents.post("contacts", {"mobilephone": "taken", "new_customerno": "holder"})
    upsert("contact", people(20), key="new_customerno")
    rows = [row | {"lastname": "Changed"} for row in people(20)]
    rows[7]["mobilephone"] = "taken"
    columns = {name: name for name in ("new_customerno", "lastname", "mobilephone")}
    counts, rejected, _ = upsert("contact", rows, key="new_customerno", columns=columns, max_failed=FEW)
    assert counts == {"read": 20, "updated": 19, "failed": 1}
    assert [(line, reason[:12]) for line, reason in rejected] == [(8, "0x80060892: ")]


def test_a_row_whose_derived_id_is_another_person_by_now_fails(upsert, contents):
    """A row is not written over one that has the id of its key but another key since, and its reason says so."""
    rows = [{"emailaddress1": "a@contoso.com", "lastname": "A"}]
    _, _, [(_, row_id)] = upsert("contact", rows, key="emailaddress1")
    contents._web.patch(f"contacts({row_id})", json={"emailaddress1": "b@contoso.com"}).raise_for_status()
    counts, rejected, _ = upsert("contact", rows, key="emailaddress1", max_failed=FEW)
    assert counts == {"read": 1, "failed": 1}
    said = f"contact {row_id} was created from this key and has another emailaddress1 now. Change it back, or "
    assert rejected == [(1, f"{said}create the contact with this key by hand: a later run updates it.")]
    (row,) = contents.rows("contacts?$select=emailaddress1")
    assert row["emailaddress1"] == "b@contoso.com"
    contents.post("contacts", rows[0])
    rows[0]["lastname"] = "Changed"
    assert upsert("contact", rows, key="emailaddress1")[0] == {"read": 1, "updated": 1}


def test_duplicate_detection_is_on_when_it_is_not_suppressed(upsert):
    """Without suppression a contact with the address of another one fails by the organisation's rule."""
    upsert("contact", [{"new_customerno": "1", "emailaddress1": "a@contoso.com"}], key="new_customerno")
    rows = [{"new_customerno": str(n), "emailaddress1": f"{'a' if n == 3 else n}@contoso.com"} for n in (2, 3, 4)]
    counts, rejected, _ = upsert(
        "contact", rows, key="new_customerno", suppress_duplicate_detection=False, max_failed=FEW
    )
    assert counts == {"read": 3, "created": 2, "failed": 1}
    assert [(line, reason[:10]) for line, reason in rejected] == [(2, "0x80040333")]
    assert upsert("contact", rows[1:2], key="new_customerno", bypass_business_logic=True)[0]["created"] == 1


def test_a_composite_key_finds_rows_by_all_its_columns(upsert, contents):
    """A key of a text and a choice tells rows apart by both."""
    rows = [{"subject": f"O'Hara & {n // 2}", "leadsourcecode": 1 + n % 2, "lastname": f"L{n}"} for n in range(120)]
    assert upsert("lead", rows, key=("subject", "leadsourcecode"))[0] == {"read": 120, "created": 120}
    rows[5]["lastname"] = "Changed"
    assert upsert("lead", rows, key=("subject", "leadsourcecode"))[0] == {"read": 120, "updated": 1, "unchanged": 119}


def test_an_empty_list_writes_nothing(upsert):
    """A list without rows has no counts."""
    assert upsert("contact", [], key="new_customerno") == ({}, [], [])


def test_nothing_more_is_sent_once_too_many_rows_have_failed(upsert, contents, sandbox, unique_phones, monkeypatch):
    """After a bulk request with more failures than max_failed no other one is sent."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", f"{sandbox.airflow_conn_uri}&max_concurrency=1")
    monkeypatch.setattr(client, "WINDOW", 100)  # rows whose failures are counted together
    contents.post("contacts", {"mobilephone": "taken", "new_customerno": "holder"})
    rows = [row | {"mobilephone": "taken"} for row in people(300)]
    columns = {name: name for name in ("new_customerno", "lastname", "mobilephone")}
    before = sandbox.requests()[-1]["number"]
    with pytest.raises(CijRefusedError, match="refused 100 of 300 rows"):
        upsert("contact", rows, key="new_customerno", columns=columns, max_failed=bound_of("max_failed", 0))
    sent = [request for request in sandbox.requests(before) if request["path"].endswith("UpsertMultiple")]
    assert len(sent) == 1
