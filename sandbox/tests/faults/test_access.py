"""The failures of a first day: no application user, no role, a missing privilege, a secret that has expired."""

import json
import re
import uuid

import httpx
import msal
import pytest
from cij_sandbox.faults.rules import Faults, read

from ..batches import answers, change_set, operation, send
from ..organisation import running_organisation

GROUP = "aaaaaaaa-0000-4000-8000-000000000012"


@pytest.fixture(scope="module")
def closed():
    """Provide a client of a sandbox of one's own."""
    with running_organisation("--contacts", "20", "--compute-seconds", "0") as organisation:
        yield organisation


@pytest.fixture(autouse=True)
def no_faults_afterwards(closed):
    """Leave no fault behind."""
    yield
    closed.sandbox.faults.clear()


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    """Return the status, the code and the message of a refusal."""
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["message"]


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("no_application_user", "0x80072560", "The user is not a member of the organization."),
        ("no_role", "0x80042F09", "The user has not been assigned any roles."),
        (
            "disabled_user",
            "0x80040225",
            "The specified user is either disabled or is not a member of any business unit.",
        ),
    ],
)
def test_a_user_that_may_do_nothing_is_told_why(closed, fault, code, message):
    """Every request is refused with the documented code and words, the login is not, until the fault is cleared."""
    closed.sandbox.faults.add(fault)
    assert closed.token()
    for path in ("WhoAmI", "contacts", "msdynmkt_segments?$top=1", "nothing"):
        assert refusal(closed.web.get(path)) == (403, code, message)
    assert refusal(send(closed, operation("GET WhoAmI"))) == (403, code, message)
    closed.sandbox.faults.clear()
    assert closed.get("WhoAmI")


@pytest.mark.parametrize(
    ("fault", "error", "number"),
    [
        ("expired_secret", "invalid_client", 7000222),
        ("wrong_secret", "invalid_client", 7000215),
        ("unknown_application", "unauthorized_client", 700016),
        ("unknown_tenant", "invalid_request", 90002),
    ],
)
def test_the_login_refuses_as_entra_does(closed, fault, error, number):
    """The login endpoint refuses with the error and number of Entra; tokens that were issued stay valid."""
    closed.sandbox.faults.add(fault)
    form = {
        "grant_type": "client_credentials",
        "client_id": closed.sandbox.client_id,
        "client_secret": closed.sandbox.client_secret,
        "scope": f"{closed.sandbox.base_url}/.default",
    }
    for version in ("/v2.0", ""):
        reply = closed.plain.post(f"{closed.sandbox.authority}/oauth2{version}/token", data=form)
        assert reply.status_code == (401 if error == "invalid_client" else 400)
        assert (reply.json()["error"], reply.json()["error_codes"]) == (error, [number])
        assert reply.json()["error_description"].startswith(f"AADSTS{number}: ")
    assert closed.get("WhoAmI")


def test_msal_meets_an_unknown_tenant_in_discovery(closed):
    """With unknown_tenant the first request of msal, for the OpenID configuration, is refused already."""
    closed.sandbox.faults.add("unknown_tenant")
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        msal.ConfidentialClientApplication(
            closed.sandbox.client_id,
            client_credential=closed.sandbox.client_secret,
            authority=closed.sandbox.authority,
            instance_discovery=False,
            http_client=closed.plain,
        )


def test_the_message_names_the_missing_privilege(closed):
    """A missing privilege is 0x80040220, with user, privilege and table in the words of the service."""
    closed.sandbox.faults.add("missing_privilege", table="contact", operation="read")
    status, code, message = refusal(closed.web.get("contacts?$top=1"))
    assert (status, code) == (403, "0x80040220")
    user = closed.get("WhoAmI")["UserId"]
    assert re.fullmatch(
        rf"Principal user \(Id={user}, type=8, roleCount=\d+, privilegeCount=\d+, accessMode=\d\), is missing "
        rf"prvReadContact privilege \(Id=[0-9a-f-]{{36}}\) on OTC=\d+ for entity 'contact'. context.Caller={user}",
        message,
    )


@pytest.mark.parametrize("table", ["contact", None])
@pytest.mark.parametrize(
    ("name", "method", "path", "body"),
    [
        ("read", "GET", "contacts", None),
        ("read", "GET", "contacts({id})?$select=lastname", None),
        ("read", "GET", "contacts/$count", None),
        ("read", "GET", "contacts?fetchXml=<fetch><entity name='contact'/></fetch>", None),
        ("create", "POST", "contacts", {"lastname": "A"}),
        ("create", "PATCH", "contacts({new})", {"lastname": "A"}),
        ("write", "PATCH", "contacts({id})", {"lastname": "A"}),
        ("write", "PUT", "contacts({id})/lastname", {"value": "A"}),
        ("delete", "DELETE", "contacts({id})", None),
        ("append", "PATCH", "contacts({id})", {"owningbusinessunit@odata.bind": "businessunits({unit})"}),
        (
            "create",
            "POST",
            "contacts/Microsoft.Dynamics.CRM.CreateMultiple",
            {"Targets": [{"@odata.type": "Microsoft.Dynamics.CRM.contact", "lastname": "A"}]},
        ),
    ],
)
def test_each_operation_needs_its_privilege(closed, table, name, method, path, body):
    """A request needs the privilege of its operation on its table, single or in a batch, and no other one."""
    existing = closed.get("contacts?$top=1&$select=contactid")["value"][0]["contactid"]
    unit = closed.get("WhoAmI")["BusinessUnitId"]
    paths = [path.format(id=existing, new=uuid.uuid4()) for _ in range(3)]
    body = body and json.loads(json.dumps(body).replace("{unit}", unit))
    other = {"read": "create"}.get(name, "read")
    closed.sandbox.faults.add("missing_privilege", table="contact", operation=other)
    closed.sandbox.faults.add("missing_privilege", table="lead")
    before = closed.web.request(method, paths[0], json=body)
    assert before.status_code < 300 or method == "DELETE", before.text
    closed.sandbox.faults.clear()
    closed.sandbox.faults.add("missing_privilege", operation=name, **({"table": table} if table else {}))
    assert refusal(closed.web.request(method, paths[1], json=body))[:2] == (403, "0x80040220")
    part = operation(f"{method} {paths[2]}", body, "1")
    [answer] = answers(send(closed, part if method == "GET" else change_set(part)))
    assert (answer if method == "GET" else answer[0])[2]["error"]["code"] == "0x80040220"
    assert closed.sandbox.faults.struck() == [2]


def test_the_other_table_of_a_lookup_needs_append_to(closed):
    """Binding a lookup needs AppendTo on the table that it names, and expanding it needs Read."""
    unit = closed.get("WhoAmI")["BusinessUnitId"]
    closed.sandbox.faults.add("missing_privilege", table="businessunit", operation="appendto")
    closed.sandbox.faults.add("missing_privilege", table="businessunit", operation="read")
    body = {"lastname": "A", "owningbusinessunit@odata.bind": f"businessunits({unit})"}
    assert "prvAppendToBusinessUnit" in refusal(closed.web.post("contacts", json=body))[2]
    assert "prvReadBusinessUnit" in refusal(closed.web.get("contacts?$expand=owningbusinessunit"))[2]
    assert closed.get("contacts?$top=1")


@pytest.mark.parametrize(
    ("action", "table", "name", "body"),
    [
        ("msdynmkt_PublishSegmentDefinition", "msdynmkt_segmentdefinition", "write", {}),
        ("msdynmkt_AddStaticMembers", "msdynmkt_segmentdefinition", "write", {"GroupId": GROUP, "EntityIds": []}),
        ("msdynmkt_RemoveStaticMembers", "msdynmkt_segmentdefinition", "write", {"GroupId": GROUP, "EntityIds": []}),
        ("msdynmkt_ListGroupMembers", "msdynmkt_segment", "read", {"GroupId": GROUP, "PageNo": 1, "PageSize": 1}),
        ("msdynmkt_SegmentStatus", "msdynmkt_segment", "read", {}),
        ("msdynmkt_MembersList", "msdynmkt_segment", "read", {}),
    ],
)
def test_actions_need_privileges_too(closed, action, table, name, body):
    """An action of segments needs a privilege on their tables."""
    segment, _ = closed.segment("PROFILE(contact)", groups=((GROUP, "Include"),))
    assert closed.publish(segment) == 1
    body = {"SegmentId": segment, **body}
    assert closed.web.post(action, json=body).status_code in (200, 204)
    closed.sandbox.faults.add("missing_privilege", table=table, operation=name)
    assert f"prv{name.capitalize()}{table}" in refusal(closed.web.post(action, json=body))[2]


def test_a_journey_needs_the_documented_privilege(closed):
    """CreateJourneyFromTemplate needs prvCreatemsdynmkt_journey."""
    closed.sandbox.faults.add("missing_privilege", table="msdynmkt_journey", operation="create")
    reply = closed.web.post("msdynmkt_CreateJourneyFromTemplate", json={"msdynmkt_journeyname": "x"})
    assert "is missing prvCreatemsdynmkt_journey privilege" in refusal(reply)[2]


def test_privileges_may_come_back(closed):
    """A rule with a count takes the privilege away that many times."""
    closed.sandbox.faults.add("missing_privilege", table="lead", operation="read", count=1)
    assert [closed.web.get("leads").status_code for _ in range(2)] == [403, 200]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"fault": "missing_privilege", "table": "contacts"}, 'There is no table "contacts": did you mean contact'),
        ({"fault": "missing_privilege", "operation": "see"}, '"operation" of the fault missing_privilege is one of'),
        ({"fault": "missing_privilege", "path": "x"}, "takes no"),
        ({"fault": "no_role", "table": "contact"}, "takes no"),
        ({"fault": "expired_secret", "method": "GET"}, "takes no"),
    ],
)
def test_a_wrong_rule_is_refused(closed, rule, words):
    """A rule for a table or an operation that does not exist, or with options it has not, is refused by name."""
    with pytest.raises(ValueError, match=re.escape(words.replace('"', '\\"'))):
        closed.sandbox.faults.add(**rule)


def test_rules_are_all_added_or_none():
    """A list with one rule for an unknown table adds none of its rules."""
    faults = Faults(1, {"contact"})
    with pytest.raises(ValueError, match="no table"):
        faults.add(read([{"fault": "no_role"}, {"fault": "missing_privilege", "table": "nothing"}]))
    assert faults.shown() == []
