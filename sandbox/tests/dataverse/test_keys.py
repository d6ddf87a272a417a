"""Alternate keys: definitions, index status, and rows by their values."""

import uuid

import pytest

from ..organisation import running_organisation

CONTACT = "EntityDefinitions(LogicalName='contact')"
LEAD = "EntityDefinitions(LogicalName='lead')"


@pytest.fixture(scope="module")
def keyed():
    """Provide a client of an organisation with contacts of its own."""
    with running_organisation("--contacts", "20", "--leads", "10") as organisation:
        yield organisation


def url(value):
    """Return the URL of the contact with a customer number."""
    return f"contacts(new_customerno='{value}')"


def keys(org, table):
    """Return the columns and index status of a table's keys by name."""
    select = "$select=LogicalName&$expand=Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus)"
    found = org.get(f"{table}?{select}")["Keys"]
    return {key["LogicalName"]: (key["KeyAttributes"], key["EntityKeyIndexStatus"]) for key in found}


def test_contacts_have_a_key_of_the_organisation_and_leads_none(keyed):
    """The keys of a table are expanded with their columns and the status of their index."""
    assert keys(keyed, CONTACT) == {"new_customernokey": (["new_customerno"], "Active")}
    assert keys(keyed, LEAD) == {}


def test_a_row_is_read_updated_and_deleted_by_its_key(keyed):
    """GET, PATCH and DELETE take the values of an alternate key, in any case and with quotes doubled."""
    value = f"O'Hara {uuid.uuid4().hex[:8]}"
    quoted = value.replace("'", "''")
    created = keyed.web.patch(url(quoted), json={"lastname": "A"})
    assert created.status_code == 204
    assert created.headers["OData-EntityId"].endswith(f"contacts(new_customerno='{quoted.replace(' ', '%20')}')")
    row = keyed.get(url(quoted.upper()))
    assert (row["new_customerno"], row["lastname"]) == (value, "A")
    assert keyed.web.patch(url(quoted), json={"lastname": "B"}, headers={"If-Match": "*"}).status_code == 204
    assert keyed.get(f"contacts({row['contactid']})")["lastname"] == "B"
    assert keyed.web.delete(url(quoted)).status_code == 204
    missing = keyed.web.get(url(quoted))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "0x80060891")


def test_a_key_of_no_row_is_not_updated_under_a_condition(keyed):
    """If-Match: * forbids to create the row, If-None-Match: * to update it."""
    value = uuid.uuid4().hex[:20]
    missing = keyed.web.patch(url(value), json={}, headers={"If-Match": "*"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "0x80060891")
    assert keyed.web.patch(url(value), json={}, headers={"If-None-Match": "*"}).status_code == 204
    assert keyed.web.patch(url(value), json={}, headers={"If-None-Match": "*"}).status_code == 412


def test_the_value_in_the_body_wins_on_create_and_is_dropped_on_update(keyed):
    """A key's value in the body differs from the URL's: the new row has it, an existing row does not get it."""
    in_url, in_body = uuid.uuid4().hex[:20], uuid.uuid4().hex[:20]
    keyed.web.patch(url(in_url), json={"new_customerno": in_body})
    assert keyed.get(url(in_body))["new_customerno"] == in_body
    assert keyed.web.patch(url(in_body), json={"new_customerno": in_url}).status_code == 204
    assert keyed.get(url(in_body))["new_customerno"] == in_body


def test_values_of_an_active_key_are_unique_without_regard_to_case(keyed):
    """A second row with the values of a key is a 412 that names the key; rows without a value are not compared."""
    value = uuid.uuid4().hex[:20]
    keyed.post("contacts", {"new_customerno": value})
    reply = keyed.post("contacts", {"new_customerno": value.upper()}, 412)
    assert reply.json()["error"]["code"] == "0x80060892"
    assert "new_CustomerNoKey" in reply.json()["error"]["message"]
    for _ in range(2):
        keyed.post("contacts", {"lastname": "no number"})


@pytest.mark.parametrize("sign", list("/<>*%&:\\?+"))
def test_a_value_that_a_url_cannot_hold_is_refused(keyed, sign):
    """The signs that the document names cannot stand in the value of a key in a URL."""
    encoded = f"%{ord(sign):02X}"
    assert keyed.web.get(f"contacts(new_customerno='A{encoded}B')").status_code in (400, 404)
    target = {"@odata.type": "Microsoft.Dynamics.CRM.contact", "@odata.id": url(f"A{sign}B")}
    keyed.post("contacts/Microsoft.Dynamics.CRM.UpsertMultiple", {"Targets": [target]}, 400)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("contacts(lastname='x')", "0x80060890"),
        ("contacts(nickel='x')", "0x80060888"),
        ("contacts(new_customerno=5)", "0x80060888"),
        ("contacts(new_customerno='x',lastname='y')", "0x80060890"),
    ],
)
def test_columns_that_are_no_key_are_refused(keyed, path, code):
    """Only the columns of one Active key name a row, each with a value of its type."""
    reply = keyed.web.get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


def test_a_key_of_several_columns_is_defined_used_and_deleted():
    """A key of a text and a choice is defined by a POST to Keys, names rows, and is gone after DELETE."""
    with running_organisation() as org:
        org.post(f"{LEAD}/Keys", {"SchemaName": "new_LeadKey", "KeyAttributes": ["subject", "leadsourcecode"]})
        row = "leads(subject='A demo',leadsourcecode=2)"
        assert org.web.patch(row, json={"lastname": "A"}).status_code == 204
        assert org.get(row)["leadsourcecode"] == 2
        assert org.web.delete(f"{LEAD}/Keys(LogicalName='new_leadkey')").status_code == 204
        assert org.web.get(row).json()["error"]["code"] == "0x80060890"


def test_the_index_of_a_key_fails_over_rows_that_share_values():
    """The key of a column in which rows have the same value is Failed, and names no row."""
    with running_organisation("--contacts", "50") as org:
        org.post(f"{CONTACT}/Keys", {"SchemaName": "new_CityKey", "KeyAttributes": ["address1_city"]})
        assert keys(org, CONTACT)["new_citykey"] == (["address1_city"], "Failed")
        assert org.web.get("contacts(address1_city='Lyon')").json()["error"]["code"] == "0x80060890"


def test_a_key_is_pending_when_its_index_is_not_built():
    """With --pending-keys a new key stays Pending and names no row."""
    with running_organisation("--pending-keys") as org:
        org.post(f"{LEAD}/Keys", {"SchemaName": "new_NumberKey", "KeyAttributes": ["new_customerno"]})
        assert keys(org, LEAD) == {"new_numberkey": (["new_customerno"], "Pending")}
        assert org.web.get("leads(new_customerno='1')").json()["error"]["code"] == "0x80060890"


@pytest.mark.parametrize("body", [{}, {"SchemaName": "new_x"}, {"SchemaName": "new_x", "KeyAttributes": ["nickel"]}])
def test_a_wrong_definition_of_a_key_is_refused(keyed, body):
    """A key needs a name with a prefix and columns that exist."""
    keyed.post(f"{LEAD}/Keys", body, 400)


def test_a_lookup_is_bound_by_an_alternate_key():
    """A body binds a row by the values of its alternate key."""
    with running_organisation("--contacts", "2") as org:
        definition = {"SchemaName": "new_AccountKey", "KeyAttributes": ["accountnumber"]}
        org.post("EntityDefinitions(LogicalName='account')/Keys", definition)
        account = str(uuid.uuid4())
        org.post("accounts", {"accountid": account, "accountnumber": "A-1"})
        row_id = str(uuid.uuid4())
        bound = {"contactid": row_id, "parentcustomerid_account@odata.bind": "/accounts(accountnumber='A-1')"}
        org.post("contacts", bound)
        assert org.get(f"contacts({row_id})")["_parentcustomerid_value"] == account
        missing = {"parentcustomerid_account@odata.bind": "/accounts(accountnumber='A-2')"}
        assert org.post("contacts", missing, 404).json()["error"]["code"] == "0x80060891"


def test_columns_are_described_by_type(keyed):
    """Attributes lists all columns; a cast lists those of one type with what that type has."""
    listed = keyed.get(f"{CONTACT}/Attributes?$select=LogicalName,AttributeType,IsValidForCreate,IsValidForUpdate")
    columns = {row["LogicalName"]: row for row in listed["value"]}
    assert columns["fullname"]["IsValidForCreate"] is columns["fullname"]["IsValidForUpdate"] is False
    assert columns["contactid"]["IsValidForCreate"] is True
    assert columns["contactid"]["IsValidForUpdate"] is False
    types = {name: row["AttributeType"] for name, row in columns.items()}
    assert (types["parentcustomerid"], types["description"]) == ("Customer", "Memo")
    assert (types["birthdate"], types["creditlimit"], types["donotemail"]) == ("DateTime", "Money", "Boolean")

    def cast(kind, select):
        rows = keyed.get(f"{CONTACT}/Attributes/Microsoft.Dynamics.CRM.{kind}AttributeMetadata?$select={select}")
        return {row["LogicalName"]: row for row in rows["value"]}

    assert cast("String", "LogicalName,MaxLength")["new_customerno"]["MaxLength"] == 20
    assert cast("Lookup", "LogicalName,Targets")["parentcustomerid"]["Targets"] == ["account"]
    assert cast("Integer", "LogicalName,MinValue,MaxValue")["numberofchildren"]["MinValue"] == 0
    assert cast("DateTime", "LogicalName,Format")["birthdate"]["Format"] == "DateOnly"
    status = cast("Status", "LogicalName&$expand=OptionSet($select=Options)")["statuscode"]
    assert [(option["Value"], option["State"]) for option in status["OptionSet"]["Options"]] == [(1, 0), (2, 1)]


def test_lookups_are_described_with_the_name_by_which_they_are_bound(keyed):
    """ManyToOneRelationships has the navigation property and the table of each lookup."""
    select = "$select=ReferencingAttribute,ReferencedEntity,ReferencingEntityNavigationPropertyName"
    rows = keyed.get(f"{CONTACT}/ManyToOneRelationships?{select}")["value"]
    found = {row["ReferencingAttribute"]: row for row in rows}
    assert found["parentcustomerid"]["ReferencedEntity"] == "account"
    assert found["parentcustomerid"]["ReferencingEntityNavigationPropertyName"] == "parentcustomerid_account"
