from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.hooks.cij import EXTRAS, CijHook
from airflow_provider_cij.provider_info import get_provider_info
from tests.scripted import Answer

WHO = Answer(body={"UserId": "user-1", "OrganizationId": "org-1", "BusinessUnitId": "unit-1"})
ID = "00000000-0000-0000-0000-000000000001"
ROWS = Answer(body={"value": []})


@pytest.fixture
def connection_test_result(scripted, monkeypatch):
    """Return the result of the Test button for a connection to a server with these responses."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def test(*answers: Answer) -> tuple[bool, str]:
        scripted.script = list(answers)
        return CijHook().test_connection()

    return test


def _no(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


def test_a_working_connection_reports_user_organisation_and_version(connection_test_result, scripted):
    """The Test button calls WhoAmI, reads a segment and reports user, organisation and version."""
    good, report = connection_test_result(WHO, ROWS, Answer(body={"Version": "9.2.25104.195"}))
    assert good, report
    for word in ("user-1", "org-1", "9.2.25104.195", "v9.2", scripted.url, "segments are readable"):
        assert word in report
    assert [request.path for request in scripted.requests][:2] == [
        "/api/data/v9.2/WhoAmI",
        "/api/data/v9.2/msdynmkt_segments?$select=msdynmkt_segmentid&$top=1",
    ]


def test_a_missing_version_is_no_failure(connection_test_result):
    """A service that reports no version passes the test."""
    for refusal in (Answer(501), _no(404, "0x80060888", "Resource not found for the segment 'RetrieveVersion'.")):
        good, report = connection_test_result(WHO, ROWS, refusal)
        assert good
        assert "Dataverse unknown" in report


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([Answer(401)], ["does not accept the token", "check host, tenant and client id"]),
        (
            [_no(403, "0x80072560", "The user is not a member of the organization.")],
            ["The user is not a member", "0x80072560", "Add the application", "application user"],
        ),
        (
            [_no(403, "0x80042F09", "The user has not been assigned any roles.")],
            ["not been assigned any roles", "has no security role: give it one"],
        ),
        (
            [WHO, _no(403, "0x80040220", "is missing prvReadmsdynmkt_segment privilege")],
            ["prvReadmsdynmkt_segment", "lacks the privilege"],
        ),
        (
            [WHO, _no(404, "0x80060888", "Resource not found for the segment 'msdynmkt_segments'.")],
            ["no msdynmkt_segments", "not installed in this environment"],
        ),
        ([_no(403, "0x80040225", "The specified user is either disabled")], ["is disabled or in no business unit"]),
        ([Answer(503, b"<title>Service Unavailable</title>")], ["Service Unavailable", "HTTP 503"]),
        ([Answer(200, b"<html>a proxy's page</html>")], ["WhoAmI was answered with a body that is no JSON"]),
    ],
)
def test_a_failing_connection_is_explained(connection_test_result, answers, words):
    """A failing connection reports the service's message and code and a hint."""
    good, report = connection_test_result(*answers)
    assert not good
    for word in words:
        assert word in report
    assert "canary" not in report


@pytest.mark.parametrize(
    ("changed", "report"),
    [
        ({"host": ""}, "has no host"),
        ({"password": ""}, "client secret"),
        ({"extra": {}}, "tenant id"),
        ({"extra": {"tenant_id": "t", "max_concurrency": "many"}}, "max_concurrency is no number"),
        ({"extra": {"tenant_id": "t", "max_throttle_wait_seconds": -1}}, "max_throttle_wait_seconds is out of range"),
        ({"extra": {"tenant_id": "t", "max_poll_seconds": 0}}, "max_poll_seconds is out of range"),
        ({"extra": {"tenant_id": "t", "credential": "magic"}}, "credential is unknown"),
        ({"extra": {"tenant_id": "t", "ca_bundle": "/nowhere.pem"}}, "ca_bundle can't be used: No such file"),
    ],
)
def test_a_malformed_connection_is_explained(scripted, monkeypatch, changed, report):
    """A malformed connection is explained before anything is sent, and the Test button never raises."""
    connection = json.loads(scripted.connection()) | changed
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    good, words = CijHook().test_connection()
    assert not good
    assert report in words
    assert scripted.requests == []


def test_a_missing_connection_is_named():
    """A missing connection is reported by its connection id."""
    good, report = CijHook("cij_elsewhere").test_connection()
    assert not good
    assert "cij_elsewhere" in report


def test_a_task_without_its_connection_says_what_to_add():
    """A task whose connection is missing says which connection to add, and may be tried again."""
    with pytest.raises(CijError, match=r"Airflow has no connection 'cij_elsewhere'.*Add one of type cij") as raised:
        CijHook("cij_elsewhere").run(lambda cij: cij.segments.get(""))
    assert not raised.value.permanent


def test_the_form_may_leave_fields_empty(scripted, monkeypatch):
    """Empty and null fields mean the default, and port 443 is no port of its own."""
    connection = json.loads(scripted.connection())
    connection["extra"] |= {"api_version": "", "max_concurrency": None, "timeout_seconds": "30", "credential": None}
    connection["extra"] |= {"max_throttle_wait_seconds": ""}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps({**connection, "port": 443}))
    settings = CijHook().settings()
    assert (settings.base_url, settings.api_version) == (scripted.url, "v9.2")
    assert (settings.max_concurrency, settings.timeout_seconds) == (8, 30)
    assert settings.max_throttle_wait_seconds == 60
    assert settings.credential == "client_secret"


@pytest.mark.parametrize("around", ["{}\n", "\ufeff{}\r\n", " \u200b{}\u200b\t", "{}\u00a0\u200e"])
def test_what_surrounds_a_field_does_not_matter(scripted, monkeypatch, around):
    """Line ends, byte order marks and other invisible characters around a field do not matter, in any of them."""
    connection = json.loads(scripted.connection(api_version="v9.1", max_concurrency="7", caller_object_id=ID))
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_PLAIN", json.dumps(connection))
    for name in ("host", "login", "password"):
        connection[name] = around.format(connection[name])
    connection["extra"] = {name: around.format(value) for name, value in connection["extra"].items()}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    assert CijHook().settings() == CijHook("cij_plain").settings()
    scripted.script = [WHO, ROWS, Answer(501)]
    assert CijHook().test_connection()[0]


def test_what_may_be_part_of_a_passphrase_is_kept(monkeypatch):
    """Spaces around the passphrase of a key are kept, a line end behind it is not; a secret has neither."""
    extra = {"tenant_id": "t", "credential": "certificate", "certificate_path": "/x.pem\n"}
    extra["private_key_passphrase"] = " pass phrase \r\n"
    connection = {"conn_type": "cij", "host": "https://x.test", "login": "c", "password": " s ecret\n", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    settings = CijHook().settings()
    assert settings.private_key_passphrase == " pass phrase "
    assert settings.client_secret == "s ecret"
    assert settings.certificate_path == "/x.pem"


def test_an_extra_under_its_former_name_is_read_and_warned_of(scripted, monkeypatch, caplog):
    """An extra under its former name is read with one warning a connection, unless the new name is given."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_OLD", scripted.connection(max_hold_seconds=7))
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_BOTH", scripted.connection(max_hold_seconds=7, max_throttle_wait_seconds=8))
    assert [CijHook("cij_old").settings().max_throttle_wait_seconds for _ in range(2)] == [7, 7]
    assert caplog.text.count("'cij_old': the extra 'max_hold_seconds' is deprecated") == 1
    assert "use 'max_throttle_wait_seconds'" in caplog.text
    assert CijHook("cij_both").settings().max_throttle_wait_seconds == 8


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("max_throtle_wait", "'max_throtle_wait' is unknown and has no effect; did you mean 'max_throttle_wait_sec"),
        ("Tenant-ID", "'Tenant-ID' is unknown and has no effect; did you mean 'tenant_id'?"),
        ("zzz", "'zzz' is unknown and has no effect; known are: tenant_id, credential,"),
        ("canary~Q.secret", "with a name that can't be shown"),
    ],
)
def test_an_unknown_extra_is_a_warning_that_names_the_nearest(scripted, monkeypatch, caplog, name, warning):
    """An unknown extra is a warning that names the nearest known one, unless its value is empty."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_TYPO", scripted.connection(**{name: "1", "also_unknown": ""}))
    CijHook("cij_typo").settings()
    assert warning in caplog.text
    assert "canary" not in caplog.text
    assert "also_unknown" not in caplog.text


def test_the_form_shows_every_extra():
    """The connection form has a field for every extra that is read and for no other."""
    fields = get_provider_info()["connection-types"][0]["conn-fields"]
    assert set(fields) == set(EXTRAS)


def test_the_token_file_of_a_pod_may_be_named_with_a_line_end(monkeypatch):
    """What the environment of a pod says is read without what surrounds it."""
    for name in ("TENANT_ID", "CLIENT_ID", "FEDERATED_TOKEN_FILE"):
        monkeypatch.setenv(f"AZURE_{name}", f"{name}\n")
    connection = {"conn_type": "cij", "host": "https://x.test", "extra": {"credential": "workload_identity\n"}}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    settings = CijHook().settings()
    assert (settings.tenant_id, settings.client_id) == ("TENANT_ID", "CLIENT_ID")
    assert settings.federated_token_file == "FEDERATED_TOKEN_FILE"


def test_a_pod_with_a_workload_identity_needs_no_fields(monkeypatch):
    """Tenant, client and token file come from the variables that Azure's webhook sets."""
    monkeypatch.setenv("AZURE_TENANT_ID", "pod-tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "pod-client")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")
    connection = {"conn_type": "cij", "host": "contoso.crm.dynamics.com", "extra": {"credential": "workload_identity"}}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    settings = CijHook().settings()
    assert (settings.tenant_id, settings.client_id, settings.federated_token_file) == (
        "pod-tenant",
        "pod-client",
        "/var/run/token",
    )


def test_sync_and_async_code_have_the_same_client(scripted, monkeypatch):
    """``run`` and ``session`` give the same client."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [WHO]

    async def main():
        async with CijHook().session() as cij:
            return await cij.dataverse.get("WhoAmI")

    assert CijHook().run(lambda cij: cij.dataverse.get("WhoAmI")) == asyncio.run(main()) == WHO.body


def test_the_url_of_a_segment(scripted, monkeypatch):
    """The URL of a segment in Dynamics 365 takes only an id."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    segment_id = "0f5b0c7f-395d-447b-b14c-315a601f878e"
    expected = f"{scripted.url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={segment_id}"
    assert CijHook().segment_url(segment_id.upper()) == expected
    with pytest.raises(CijInputError):
        CijHook().segment_url("x&y=javascript:")
