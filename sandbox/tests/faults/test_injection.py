"""Injected faults as a client meets them: on real sockets, with TLS, byte by byte."""

import email.utils
import json
import select
import socket
import ssl
import subprocess
import sys
import time
import uuid

import httpx
import pytest
from cij_sandbox.server.control import RequestLog
from cij_sandbox.testing import Sandbox, running_sandbox

from ..organisation import Organisation, running_organisation

CODES = {
    "0x80072322": "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
    "0x80072321": "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time "
    "window of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests and try again "
    "later.",
    "0x80072326": "Number of concurrent requests exceeded the limit of 52.",
}
SERVICE_HEADERS = {"x-ms-service-request-id", "req_id", "odata-version"}


@pytest.fixture(scope="module")
def own():
    """Provide a sandbox in which only these tests inject faults."""
    with running_organisation() as organisation:
        yield organisation


@pytest.fixture
def troubled(own):
    """Provide the sandbox without the faults of an earlier test, and with a valid token."""
    own.sandbox.faults.clear()
    own.web.headers["Authorization"] = f"Bearer {own.token()}"
    yield own
    own.sandbox.faults.clear()


def ask(org, method, path, body=None, **headers):
    """Send one request over a socket of its own; return all bytes that came and how the connection ended."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = {
        "Host": org.sandbox.base_url.removeprefix("https://"),
        "Authorization": org.web.headers["Authorization"],
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    port = int(lines["Host"].partition(":")[2])
    context = ssl.create_default_context(cafile=org.sandbox.ca)
    # A newer server says something of its own accord after the handshake, and an end would hide behind it.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=False) as tls,
    ):
        tls.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        try:
            while part := _part(tls):
                received += part
        except ssl.SSLEOFError:
            return received, "eof"
        except ConnectionResetError:
            return received, "rst"
    return received, "closed"


def _part(tls):
    # Python's ssl tells a reset as an end of file; the kernel knows better, but tells it only once.
    if not tls.pending():
        select.select([tls], [], [], 10)
        if problem := tls.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(problem, "the connection was reset")
    return tls.recv(65536)


def parted(reply):
    """Take a reply apart: status, headers, body."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


def contact(org):
    """Name a contact that is not there yet, and the request that makes it."""
    contact_id = str(uuid.uuid4())
    return contact_id, ("POST", "/api/data/v9.2/contacts", {"contactid": contact_id, "lastname": "Somebody"})


def exists(org, contact_id):
    """Tell whether a contact is there."""
    return org.web.get(f"contacts({contact_id})").status_code == 200


def closing(org, method="GET", path="/api/data/v9.2/WhoAmI", body=None):
    """Ask with the wish to close, so that a whole reply is known by its end."""
    reply, end = ask(org, method, path, body, Connection="close")
    assert end in ("closed", "eof")
    return parted(reply)


@pytest.mark.parametrize("code", CODES)
def test_429_says_which_limit_and_how_long(troubled, code):
    """Each of the three codes comes with its documented message and the requested Retry-After."""
    troubled.sandbox.faults.add("429", code=code, retry_after=7, count=1)
    status, headers, body = closing(troubled)
    assert (status, headers["retry-after"]) == (429, "7")
    assert json.loads(body) == {"error": {"code": code, "message": CODES[code]}}
    assert set(headers) >= SERVICE_HEADERS
    assert closing(troubled)[0] == 200


def test_retry_after_may_be_a_date_or_missing(troubled):
    """Retry-After may be an HTTP date that is never too early, may be missing, and is a second by default."""
    troubled.sandbox.faults.add("429", retry_after_date=5, count=1)
    before = time.time()
    told = email.utils.parsedate_to_datetime(closing(troubled)[1]["retry-after"])
    assert before + 5 <= told.timestamp() <= time.time() + 6
    troubled.sandbox.faults.add("429", retry_after=None, count=1)
    assert "retry-after" not in closing(troubled)[1]
    troubled.sandbox.faults.add("429", count=1)
    assert closing(troubled)[1]["retry-after"] == "1"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", ["html", "json"])
def test_server_errors_are_pages_or_json(troubled, status, body):
    """A gateway's page has nothing of the service in it; the service's own error has its code and request id."""
    troubled.sandbox.faults.add(str(status), body=body, retry_after=3)
    got, headers, content = closing(troubled)
    assert (got, headers["retry-after"]) == (status, "3")
    if body == "html":
        assert headers["content-type"].startswith("text/html")
        assert content.startswith(b"<html>")
        assert not SERVICE_HEADERS & set(headers)
    else:
        assert json.loads(content)["error"]["code"] == "0x80040216"
        assert set(headers) >= SERVICE_HEADERS


def test_the_body_a_server_error_has_by_default(troubled):
    """By default gateways answer with pages and the service with JSON, without Retry-After."""
    for fault, kind in (("500", "application/json"), ("502", "text/html"), ("503", "text/html"), ("504", "text/html")):
        troubled.sandbox.faults.add(fault, count=1)
        status, headers, _ = closing(troubled)
        assert status == int(fault)
        assert headers["content-type"].startswith(kind)
        assert "retry-after" not in headers


def test_400_hides_a_trouble_behind_the_plug_in(troubled):
    """The 400 of an action may wrap a 503 of the service behind it, which only the message tells."""
    troubled.sandbox.faults.add("400", path="msdynmkt_")
    status, _, body = closing(troubled, "POST", "/api/data/v9.2/msdynmkt_AddStaticMembers", {})
    assert status == 400
    error = json.loads(body)["error"]
    assert error["code"] == "0x80040265"
    assert "(503)" in error["message"]
    assert "CorrelationId: " in error["message"]


def test_401_refuses_a_good_token_once(troubled):
    """The challenge is that of a bad token; without ``invalidate`` the same token is good again."""
    troubled.sandbox.faults.add("401", count=1)
    status, headers, body = closing(troubled)
    assert (status, body) == (401, b"")
    assert headers["www-authenticate"].startswith("Bearer authorization_uri=https://localhost:")
    assert closing(troubled)[0] == 200


def test_401_may_end_the_token(troubled):
    """With ``invalidate`` only a fresh token works, and other tokens are not touched."""
    other = troubled.token()
    troubled.sandbox.faults.add("401", count=1, invalidate=True)
    assert [closing(troubled)[0] for _ in range(3)] == [401, 401, 401]
    assert troubled.sandbox.faults.struck() == [1]
    for token in (other, troubled.token()):
        troubled.web.headers["Authorization"] = f"Bearer {token}"
        assert closing(troubled)[0] == 200


def test_html200_is_a_page_of_somebody_else(troubled):
    """A login page comes with 200 and without headers of the service, and the request is not carried out."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add("html200", method="POST")
    status, headers, body = closing(troubled, *request)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<form>" in body
    assert not SERVICE_HEADERS & set(headers)
    assert not exists(troubled, contact_id)


@pytest.mark.parametrize(
    ("rule", "end", "done"),
    [
        ({"fault": "reset"}, "rst", False),
        ({"fault": "reset", "close": "eof"}, "eof", False),
        ({"fault": "lost"}, "eof", True),
        ({"fault": "lost", "close": "rst"}, "rst", True),
    ],
)
def test_hanging_up(troubled, rule, end, done):
    """A reset or lost connection ends without a byte of a reply, and the request is carried out or not, as asked."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add(**rule, method="POST", count=1)
    assert ask(troubled, *request) == (b"", end)
    assert exists(troubled, contact_id) is done
    again = closing(troubled, *request)[0]
    assert again == (412 if done else 204)


def test_hanging_up_in_the_middle_of_a_connection(troubled):
    """A keep-alive connection is ended too, and a client that opens a new one continues."""
    troubled.get("WhoAmI")
    troubled.sandbox.faults.add("lost", count=1)
    with pytest.raises(httpx.TransportError):
        troubled.web.get("WhoAmI")
    troubled.get("WhoAmI")


def test_a_large_request_is_reset_as_well(troubled):
    """A request that is still being sent when the fault applies is reset too."""
    troubled.sandbox.faults.add("reset", close="eof", count=1)
    body = {"EntityIds": ["x" * 1000] * 2000}
    assert ask(troubled, "POST", "/api/data/v9.2/msdynmkt_AddStaticMembers", body) == (b"", "eof")


@pytest.mark.parametrize(
    ("rule", "status"), [({"fault": "503"}, 503), ({"fault": "400"}, 400), ({"fault": "429"}, 429)]
)
def test_a_refusal_is_before_processing(troubled, rule, status):
    """A refused request is not carried out."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add(**rule, method="POST")
    assert closing(troubled, *request)[0] == status
    assert not exists(troubled, contact_id)


@pytest.mark.parametrize("fault", ["400", "500", "502", "503", "504"])
def test_an_error_may_come_after_processing(troubled, fault):
    """With ``processed`` the client sees an error although everything was done."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add(fault, method="POST", processed=True)
    assert closing(troubled, *request)[0] == int(fault)
    assert exists(troubled, contact_id)


def test_slow_before_and_after(troubled):
    """The row exists between the two delays, and not before the first."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add("slow", method="POST", delay=0.2, reply_delay=0.3)
    before = time.monotonic()
    assert closing(troubled, *request)[0] == 204
    assert 0.5 <= time.monotonic() - before < 8
    assert exists(troubled, contact_id)
    troubled.sandbox.faults.clear()
    troubled.sandbox.faults.add("slow", method="POST", reply_delay=5)
    contact_id, request = contact(troubled)
    with pytest.raises(httpx.ReadTimeout):
        troubled.web.post("contacts", json=request[2], timeout=0.5)
    assert exists(troubled, contact_id)


def test_truncated_breaks_the_reading(troubled):
    """A truncated reply has the length of the whole one and half of its bytes, so that a client's read breaks."""
    whole = troubled.web.get("WhoAmI").content
    troubled.sandbox.faults.add("truncated")
    reply, _ = ask(troubled, "GET", "/api/data/v9.2/WhoAmI")
    status, headers, body = parted(reply)
    assert (status, int(headers["content-length"])) == (200, len(whole))
    assert body == whole[: len(whole) // 2]
    with pytest.raises(httpx.RemoteProtocolError):
        troubled.web.get("WhoAmI")


def test_truncated_may_look_whole(troubled):
    """A consistently truncated reply has the length that it announces, and is no JSON."""
    whole = troubled.web.get("WhoAmI").content
    troubled.sandbox.faults.add("truncated", consistent=True)
    status, headers, body = closing(troubled)
    assert (status, int(headers["content-length"])) == (200, len(body))
    assert body == whole[: len(whole) // 2]
    with pytest.raises(json.JSONDecodeError):
        troubled.web.get("WhoAmI").json()


def test_truncated_without_a_body(troubled):
    """A truncated reply without a body is lost, or replaced by invalid JSON; the request is carried out."""
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add("truncated", method="POST", count=1)
    assert ask(troubled, *request) == (b"", "eof")
    assert exists(troubled, contact_id)
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add("truncated", method="POST", consistent=True)
    status, _, body = closing(troubled, *request)
    assert (status, body) == (200, b"{")
    assert exists(troubled, contact_id)


@pytest.mark.parametrize(
    ("rule", "status", "number"),
    [
        ({"fault": "429", "retry_after": 4}, 429, 90055),
        ({"fault": "400"}, 400, 700016),
        ({"fault": "401"}, 401, 7000222),
        ({"fault": "500"}, 500, 90033),
        ({"fault": "503", "retry_after": 4}, 503, 90033),
    ],
)
def test_the_login_endpoint_goes_wrong_in_its_own_words(troubled, rule, status, number):
    """A fault on the token endpoint answers with Entra's JSON, and with Retry-After on request."""
    troubled.sandbox.faults.add(**rule, path="oauth2/v2.0/token")
    got, headers, body = closing(troubled, "POST", f"/{troubled.sandbox.tenant}/oauth2/v2.0/token")
    assert got == status
    assert headers.get("retry-after") == ("4" if "retry_after" in rule else None)
    assert json.loads(body)["error_codes"] == [number]


def test_the_login_endpoint_may_hang_up_or_answer_with_a_page(troubled):
    """The token endpoint can be cut off or answer with a gateway's page, but only by a rule with its path."""
    path = f"/{troubled.sandbox.tenant}/oauth2/v2.0/token"
    troubled.sandbox.faults.add("503")
    troubled.token()
    troubled.sandbox.faults.add("reset", path="token", count=1)
    assert ask(troubled, "POST", path) == (b"", "rst")
    troubled.sandbox.faults.add("502", path="token", body="html", count=1)
    status, headers, _ = closing(troubled, "POST", path)
    assert (status, headers["content-type"]) == (502, "text/html; charset=utf-8")
    troubled.sandbox.faults.add("502", path="/openid-configuration")
    assert closing(troubled, "GET", f"/{troubled.sandbox.tenant}/v2.0/.well-known/openid-configuration")[0] == 502


def test_faults_strike_where_told(troubled):
    """Path and method select requests; the endpoint shows how many each rule has seen and struck."""
    troubled.sandbox.faults.add("503", path=r"contacts\(", method="GET", after=1, count=2)
    troubled.sandbox.faults.add("502", path="leads")
    asked = ["contacts", "contacts(x)", "contacts(x)", "contacts(x)", "contacts(x)", "leads", "WhoAmI"]
    assert [troubled.web.get(path).status_code for path in asked] == [200, 400, 503, 503, 400, 502, 200]
    assert troubled.sandbox.faults.struck() == [2, 1]
    first = troubled.plain.get("/sandbox/faults").json()["faults"][0]
    assert first == {
        "rule": {"fault": "503", "path": r"contacts\(", "method": "GET", "after": 1, "count": 2},
        "seen": 4,
        "struck": 2,
    }
    troubled.sandbox.faults.clear()
    assert troubled.sandbox.faults.struck() == []
    assert troubled.web.get("leads").status_code == 200


def test_the_endpoint_takes_lists_and_refuses_nonsense(troubled):
    """The rules of a list are added all or none; refusals name the reason; a form of another site is refused."""
    url = "/sandbox/faults"
    good = {"fault": "503", "path": "nowhere"}
    assert len(troubled.plain.post(url, json=[good, good]).json()["faults"]) == 2
    refused = troubled.plain.post(url, json=[good, {"fault": "oops"}])
    assert refused.status_code == 400
    assert "is one of 400, 401" in refused.json()["error"]
    assert troubled.plain.post(url, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert (
        troubled.plain.post(url, content=b"[" * 99999, headers={"Content-Type": "application/json"}).status_code == 400
    )
    assert troubled.plain.post(url, content=json.dumps(good), headers={"Content-Type": "text/plain"}).status_code == 415
    assert troubled.plain.get(url, headers={"Host": "example.com"}).status_code == 400
    assert troubled.sandbox.faults.struck() == [0, 0]
    with pytest.raises(ValueError, match='takes no \\\\"delay\\\\"'):
        troubled.sandbox.faults.add("429", delay=1)


def test_the_log_tells_what_was_asked_and_what_came_of_it(troubled):
    """Each request is logged once with number, status, fault and client request id, and without its query."""
    mark = troubled.sandbox.requests()[-1]["number"]
    contact_id, request = contact(troubled)
    troubled.sandbox.faults.add("reset", path="contacts", method="POST", count=1)
    troubled.sandbox.faults.add("lost", path="contacts", method="POST", count=1)
    before = time.time()
    for number in range(3):
        ask(troubled, *request, **{"Connection": "close", "x-ms-client-request-id": f"id-{number}"})
    troubled.get(f"contacts?$filter=contactid eq {contact_id}")
    troubled.token()
    entries = troubled.sandbox.requests(since=mark)
    path = "/api/data/v9.2/contacts"
    told = [
        tuple(entry[name] for name in ("method", "path", "status", "fault", "client_request_id")) for entry in entries
    ]
    assert told[:4] == [
        ("POST", path, None, "reset", "id-0"),
        ("POST", path, 204, "lost", "id-1"),
        ("POST", path, 412, None, "id-2"),
        ("GET", path, 200, None, None),
    ]
    assert told[-1][:3] == ("POST", f"/{troubled.sandbox.tenant}/oauth2/v2.0/token", 200)
    assert [entry["number"] for entry in entries] == list(range(mark + 1, mark + 1 + len(entries)))
    times = [before, *(entry["time"] for entry in entries), time.time()]
    assert times == sorted(times)
    assert contact_id not in json.dumps(entries)
    assert troubled.sandbox.requests(since=entries[-1]["number"]) == []
    assert troubled.plain.get("/sandbox/requests?since=x").status_code == 400


def test_the_log_is_bounded():
    """The last 10,000 requests are kept, and their numbers continue."""
    log = RequestLog()
    for number in range(10_005):
        log.begin("GET", f"/{number}", None)
    kept = log.since(0)
    assert len(kept) == 10_000
    assert [(entry["number"], entry["path"]) for entry in (kept[0], kept[-1])] == [(6, "/5"), (10_005, "/10004")]
    assert [entry["number"] for entry in log.since(10_003)] == [10_004, 10_005]


def test_trouble_leaves_no_complaint_and_no_delay():
    """Broken connections are not reported as failures of the sandbox, which stops although a request still waits."""
    command = [sys.executable, "-m", "cij_sandbox", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        org = Organisation(Sandbox(**json.loads(process.stdout.readline())))
        for fault in ("reset", "lost", "truncated", "html200", "503"):
            org.sandbox.faults.add(fault, count=1)
            ask(org, "GET", "/api/data/v9.2/WhoAmI", Connection="close")
        org.sandbox.faults.add("slow", delay=600)
        with pytest.raises(httpx.ReadTimeout):
            org.web.get("WhoAmI", timeout=0.2)
        assert org.sandbox.faults.struck() == [1] * 6
        before = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - before < 8
        org.close()
        assert process.stderr.read() == ""


def test_faults_from_the_command_line():
    """Rules of the command line apply from the first request on, and a seed reproduces the same choice."""

    def statuses(*options):
        rules = [{"fault": "503", "probability": 0.5}, {"fault": "502", "path": "WhoAmI", "count": 1}]
        given = [part for rule in rules for part in ("--fault", json.dumps(rule))]
        with running_organisation(*given, *options) as org:
            return [org.web.get("WhoAmI").status_code for _ in range(40)]

    one = statuses("--fault-seed", "7")
    assert statuses("--fault-seed", "7") == one
    assert statuses("--fault-seed", "8") != one
    assert one.count(502) == 1
    assert 8 < one.count(503) < 32


def test_a_wrong_rule_on_the_command_line_is_said_so():
    """The sandbox does not start with a rule it does not understand."""
    with (
        pytest.raises(RuntimeError, match='takes no "patch"'),
        running_sandbox("--fault", '{"fault":"429","patch":"x"}'),
    ):
        pass
