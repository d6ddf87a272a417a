"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows of a table, all or none."""

import threading
import uuid

import pytest

from ..batches import answers, operation, send
from ..organisation import running_organisation

CONTACT = "Microsoft.Dynamics.CRM.contact"
PURPOSE = "10000000-0000-0000-0000-000000000003"


@pytest.fixture(scope="module")
def multiple():
    """Provide a client of an organisation of its own, in which the same row at once ends in a deadlock."""
    with running_organisation("--deadlocks") as organisation:
        yield organisation


def act(org, verb, targets, status, table="contacts", kind=CONTACT, **headers):
    """Send targets with their type."""
    body = {"Targets": [{"@odata.type": kind, **target} for target in targets]}
    return org.post(f"{table}/Microsoft.Dynamics.CRM.{verb}Multiple", body, status, **headers)


def number():
    """Return a customer number that no row has."""
    return uuid.uuid4().hex[:20]


def by_key(value):
    """Return the name of a target by its customer number."""
    return {"@odata.id": f"contacts(new_customerno='{value}')"}


def named(org, value):
    """Return the last names of the contacts with a customer number."""
    return [row["lastname"] for row in org.get(f"contacts?$filter=new_customerno eq '{value}'")["value"]]


def test_create_multiple_answers_the_ids_in_order(multiple):
    """CreateMultiple answers 200 with an id for each target, the client's own where it chose one."""
    own = str(uuid.uuid4())
    reply = act(multiple, "Create", [{"lastname": "A"}, {"contactid": own, "lastname": "B"}], 200).json()
    assert reply["@odata.context"].endswith("$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse")
    assert reply["Ids"][1] == own
    assert [multiple.get(f"contacts({row_id})")["lastname"] for row_id in reply["Ids"]] == ["A", "B"]


def test_create_multiple_creates_all_or_none(multiple):
    """One target with an id that is taken undoes the whole request."""
    taken, fresh = str(uuid.uuid4()), str(uuid.uuid4())
    act(multiple, "Create", [{"contactid": taken}], 200)
    reply = act(multiple, "Create", [{"contactid": fresh}, {"contactid": taken}], 412)
    assert reply.json()["error"]["code"] == "0x80040237"
    assert multiple.web.get(f"contacts({fresh})").status_code == 404


def test_update_multiple_updates_all_or_none(multiple):
    """UpdateMultiple answers 204, and nothing is changed when one of the rows does not exist."""
    first, second, missing = (str(uuid.uuid4()) for _ in range(3))
    act(multiple, "Create", [{"contactid": first}, {"contactid": second}], 200)
    both = [{"contactid": row_id, "lastname": "new"} for row_id in (first, second)]
    assert act(multiple, "Update", both, 204).content == b""
    wrong = [{"contactid": first, "lastname": "other"}, {"contactid": missing, "lastname": "other"}]
    reply = act(multiple, "Update", wrong, 404)
    assert reply.json()["error"] == {"code": "0x80040217", "message": f"Contact With Ids = {missing} Do Not Exist"}
    assert [multiple.get(f"contacts({row_id})")["lastname"] for row_id in (first, second)] == ["new", "new"]


def test_upsert_multiple_by_alternate_key_creates_and_updates(multiple):
    """UpsertMultiple answers 204 with nothing, creates the row with the key's value, and updates it the next time."""
    old, new = number(), number()
    act(multiple, "Upsert", [by_key(old) | {"lastname": "old"}], 204)
    reply = act(multiple, "Upsert", [by_key(old) | {"lastname": "renamed"}, by_key(new) | {"lastname": "new"}], 204)
    assert reply.content == b""
    assert (named(multiple, old), named(multiple, new)) == (["renamed"], ["new"])


def test_upsert_multiple_by_primary_key_creates_and_updates(multiple):
    """A target of UpsertMultiple names its row by id, in @odata.id or in the body."""
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("A", "B"):
        targets = [{"@odata.id": f"contacts({first})", "lastname": name}, {"contactid": second, "lastname": name}]
        act(multiple, "Upsert", targets, 204)
        assert [multiple.get(f"contacts({row_id})")["lastname"] for row_id in (first, second)] == [name, name]


def test_upsert_multiple_refuses_a_key_column_in_the_body_of_a_new_row(multiple):
    """The column of the key in the body is a 400 with 0x80040216 for a new row, and nothing for an existing one."""
    value = number()
    target = by_key(value) | {"new_customerno": value, "lastname": "x"}
    assert act(multiple, "Upsert", [target], 400).json()["error"]["code"] == "0x80040216"
    act(multiple, "Upsert", [by_key(value)], 204)
    act(multiple, "Upsert", [target], 204)
    assert named(multiple, value) == ["x"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [({"jobtitle": "x" * 101}, "0x80044331"), ({"gendercode": 9}, "0x8004431a"), ({"nickel": 1}, "0x80048d19")],
)
def test_one_bad_target_undoes_an_upsert(multiple, bad, code):
    """A target with a bad value is answered with its code, and no other target of the request is written."""
    good = number()
    assert act(multiple, "Upsert", [by_key(good), by_key(number()) | bad], 400).json()["error"]["code"] == code
    assert named(multiple, good) == []


@pytest.mark.parametrize("targets", [[], [{"lastname": "x", "@odata.type": None}], "x", [7], None])
def test_targets_without_rows_or_types_are_refused(multiple, targets):
    """Targets is a list of rows, each with its type."""
    reply = multiple.post("contacts/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": targets}, 400)
    assert reply.json()["error"]["code"] == "0x80048d19"


def test_the_actions_work_on_the_tables_of_consent(multiple):
    """Rows of consent are created and updated with lookups, like those of any table."""
    kind, table = "Microsoft.Dynamics.CRM.msdynmkt_contactpointconsent4", "msdynmkt_contactpointconsent4s"
    row_id = str(uuid.uuid4())
    row = {
        "msdynmkt_contactpointconsent4id": row_id,
        "msdynmkt_contactpointvalue": "a@b.example",
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({PURPOSE})",
    }
    assert act(multiple, "Create", [row], 200, table, kind).json()["Ids"] == [row_id]
    changed = {"msdynmkt_contactpointconsent4id": row_id, "msdynmkt_value": 534120002}
    act(multiple, "Update", [changed], 204, table, kind)
    found = multiple.get(f"{table}({row_id})")
    assert (found["msdynmkt_value"], found["_msdynmkt_purposeid_value"]) == (534120002, PURPOSE)


def test_the_same_row_twice_in_a_request_is_a_deadlock(multiple):
    """Two targets with the same key, also in other case, end in the generic SQL error."""
    value = number()
    reply = act(multiple, "Upsert", [by_key(value), by_key(value.upper())], 500)
    assert reply.json()["error"]["code"] == "0x80044150"
    assert named(multiple, value) == []


def test_the_same_row_in_two_requests_at_once_is_a_deadlock(multiple):
    """Of requests that write the same rows at once some lose, and those that do are told so."""
    rows = [by_key(number()) for _ in range(300)]
    statuses = []
    begin = threading.Barrier(4)

    def work():
        begin.wait()
        body = {"Targets": [{"@odata.type": CONTACT, **row} for row in rows]}
        reply = multiple.web.post("contacts/Microsoft.Dynamics.CRM.UpsertMultiple", json=body)
        statuses.append((reply.status_code, reply.json()["error"]["code"] if reply.status_code != 204 else ""))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {(204, ""), (500, "0x80044150")}


def test_the_same_row_at_once_is_written_twice_without_the_switch(org):
    """Without --deadlocks a request may name a row twice, and the later target wins."""
    value = number()
    act(org, "Upsert", [by_key(value) | {"lastname": "A"}, by_key(value) | {"lastname": "B"}], 204)
    assert named(org, value) == ["B"]
    org.web.delete(f"contacts(new_customerno='{value}')")


@pytest.mark.parametrize(("fault", "code"), [("sql_timeout", "0x80044151"), ("deadlock", "0x80044150")])
def test_sql_errors_are_injected(multiple, fault, code):
    """The faults sql_timeout and deadlock strike before anything is written."""
    rule = {"fault": fault, "path": "UpsertMultiple$", "count": 1}
    assert multiple.plain.post("/sandbox/faults", json=rule).status_code == 200
    value = number()
    assert act(multiple, "Upsert", [by_key(value)], 500).json()["error"]["code"] == code
    assert named(multiple, value) == []
    act(multiple, "Upsert", [by_key(value)], 204)


def test_a_batch_without_a_change_set_says_which_row_failed(multiple):
    """PATCHes by key outside a change set are answered one by one: created, updated or refused, with the id."""
    old = number()
    act(multiple, "Upsert", [by_key(old)], 204)
    wanted = {"Prefer": "return=representation", "Content_Type": "application/json"}
    parts = [
        operation(f"PATCH /api/data/v9.2/contacts(new_customerno='{value}')?$select=contactid", body, **wanted)
        for value, body in ((old, {"lastname": "x"}), (number(), {"gendercode": 9}), (number(), {"lastname": "y"}))
    ]
    reply = send(multiple, *parts, Prefer="odata.continue-on-error")
    found = answers(reply)
    assert [status for status, _, _ in found] == [200, 400, 201]
    assert set(found[0][2]) == {"@odata.context", "@odata.etag", "contactid"}
    assert multiple.get(f"contacts({found[2][2]['contactid']})")["lastname"] == "y"


def test_duplicate_detection_is_off_unless_its_header_turns_it_on(multiple):
    """A contact with the address of another one is created, except under MSCRM.SuppressDuplicateDetection: false."""
    address = f"{number()}@contoso.com"
    targets = [{"emailaddress1": address}]
    act(multiple, "Create", targets, 200)
    detect = {"MSCRM.SuppressDuplicateDetection": "false"}
    assert act(multiple, "Create", targets, 412, **detect).json()["error"]["code"] == "0x80040333"
    act(multiple, "Create", targets, 200, **{"MSCRM.SuppressDuplicateDetection": "true"})
    assert len(multiple.get(f"contacts?$filter=emailaddress1 eq '{address}'")["value"]) == 2


def test_the_header_that_bypasses_custom_logic_takes_two_values(multiple):
    """MSCRM.BypassBusinessLogicExecution names CustomSync, CustomAsync or both."""
    header = "MSCRM.BypassBusinessLogicExecution"
    act(multiple, "Create", [{"lastname": "x"}], 200, **{header: "CustomSync,CustomAsync"})
    act(multiple, "Create", [{"lastname": "x"}], 400, **{header: "Everything"})


def test_responses_recommend_parallel_requests_and_set_the_affinity_cookie(multiple):
    """Responses have x-ms-dop-hint, and set ARRAffinity for a client that does not send it."""
    reply = multiple.plain.get(
        "/api/data/v9.2/WhoAmI", headers={"Authorization": multiple.web.headers["Authorization"]}
    )
    assert reply.headers["x-ms-dop-hint"] == "5"
    assert reply.headers["set-cookie"].startswith("ARRAffinity=")
    again = multiple.web.get("WhoAmI", headers={"Cookie": "ARRAffinity=x"})
    assert "set-cookie" not in again.headers
