"""What other clients send, as they do: dataverse-api, dynamics-client, PowerPlatform-Dataverse-Client."""

import json
import uuid

import pytest

from ..batches import answers, post


@pytest.fixture
def mark(org):
    """Provide a job title that sets one test's contacts apart."""
    mark = f"foreign {uuid.uuid4()}"
    yield mark
    for row in org.get(f"contacts?$filter=jobtitle eq '{mark}'&$select=contactid")["value"]:
        org.web.delete(f"contacts({row['contactid']})")


def test_dataverse_api_asks_what_a_table_can_do(org):
    """The messages of a table are found by a filter over the message's name, which is expanded."""
    names = " or ".join(f"sdkmessageid/name eq '{name}'" for name in ("CreateMultiple", "UpdateMultiple"))
    options = "$select=sdkmessagefilterid&$expand=sdkmessageid($select=name)"
    path = f"sdkmessagefilters?{options}&$filter=({names}) and primaryobjecttypecode eq 'contact'"
    found = org.get(path)["value"]
    assert sorted(row["sdkmessageid"]["name"] for row in found) == ["CreateMultiple", "UpdateMultiple"]
    assert len({row["sdkmessagefilterid"] for row in found}) == 2


def test_the_documented_probe_of_a_message(org):
    """The documented probe with aliases finds UpsertMultiple of contact, and nothing for a read-only table."""
    path = (
        "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq @m and primaryobjecttypecode eq @t"
    )
    assert len(org.get(f"{path}&@m='UpsertMultiple'&@t='contact'")["value"]) == 1
    assert org.get(f"{path}&@m='UpsertMultiple'&@t='systemuser'")["value"] == []
    assert org.web.get("sdkmessagefilters?$orderby=x").status_code == 501
    assert org.web.get("sdkmessagefilters?$filter=primaryobjecttypecode ne 'x'").status_code == 501
    assert org.web.get("sdkmessagefilters?$filter=primaryobjecttypecode eq").status_code == 400
    assert org.web.post("sdkmessagefilters", json={}).status_code == 405


def test_dataverse_api_reads_the_relationships_of_a_table(org):
    """The lookups to a table are its OneToManyRelationships, those from it its ManyToOneRelationships."""
    contact, account = (f"EntityDefinitions(LogicalName='{name}')" for name in ("contact", "account"))
    from_it = {row["SchemaName"] for row in org.get(f"{contact}/ManyToOneRelationships")["value"]}
    to_it = org.get(f"{account}/OneToManyRelationships")["value"]
    assert from_it & {row["SchemaName"] for row in to_it}
    assert {row["ReferencedEntity"] for row in to_it} == {"account"}
    assert org.get(f"{contact}?$select=PrimaryImageAttribute")["PrimaryImageAttribute"] is None


def test_dataverse_api_sends_batches_with_other_line_ends(org, mark):
    """A batch as dataverse-api writes it, whose lines end with LF and two of them at the end, creates its rows."""
    parts = [
        f"--batch_1\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n"
        f"POST {org.sandbox.base_url}/api/data/v9.2/contacts HTTP/1.1\nContent-Type: application/json; type=entry\n\n\n"
        f"{json.dumps({'lastname': name, 'jobtitle': mark})}\n"
        for name in ("A", "B")
    ]
    reply = post(org, "\n".join([*parts, "\n--batch_1--\n\n"]))
    assert [status for status, _, _ in answers(reply)] == [204, 204]
    assert len(org.get(f"contacts?$filter=jobtitle eq '{mark}'")["value"]) == 2


def test_dynamics_client_lists_values_in_single_quotes(org, mark):
    """In, NotIn and Between of dynamics-client, with values in single quotes and spaces around them, are read."""
    for name in ("A", "B", "C"):
        org.post("contacts", {"lastname": name, "jobtitle": mark})
    crm = "Microsoft.Dynamics.CRM"
    for function, values, count in (("In", "'A', 'B'", 2), ("NotIn", "'A'", 2), ("Between", "'A','B'", 2)):
        text = f"{crm}.{function}(PropertyName='lastname',PropertyValues=[{values}]) and jobtitle eq '{mark}'"
        assert len(org.get(f"contacts?$select=contactid,lastname&$filter={text}")["value"]) == count


def test_microsofts_sdk_lists_the_tables(org):
    """Microsoft's SDK lists tables that are not private, which all are, and asks for its own bulk delete."""
    tables = org.get("EntityDefinitions?$filter=IsPrivate eq false&$select=LogicalName")["value"]
    assert {"contact", "msdynmkt_segment"} <= {row["LogicalName"] for row in tables}
    reply = org.web.post("BulkDelete", json={})
    assert (reply.status_code, "BulkDelete" in reply.text) == (501, True)
