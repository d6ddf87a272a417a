"""Batches of requests, written and read as bytes."""

from __future__ import annotations

import email
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.multipart import Operation, read_batch, write_batch
from airflow_provider_cij.dataverse.responses import Response
from airflow_provider_cij.errors import CijReplyError
from tests.scripted import Answer
from tests.scripted_client import run_client

ROW = "/api/data/v9.2/contacts(00000000-0000-0000-0000-000000000001)"


def response(*parts, end="\r\n", closed=True, boundary="batchresponse_1"):
    """Return the response to a batch."""
    body = "".join(f"--{boundary}{end}{part}{end}" for part in parts) + (f"--{boundary}--{end}" if closed else "")
    return Response(200, {"content-type": f'multipart/mixed; boundary="{boundary}"'}, body.encode())


def part(status, body="", end="\r\n"):
    """Return one response as a part."""
    head = end.join(["Content-Type: application/http", "Content-Transfer-Encoding: binary", ""])
    return end.join([head, f"HTTP/1.1 {status} Some words", "Content-Type: application/json", "X-Tag: a", "", body])


@given(bodies=st.lists(st.dictionaries(st.text(), st.text()), max_size=5))
def test_the_standard_library_reads_what_is_written(bodies):
    """Each request is a part with its method, path, headers and body, whatever the body holds."""
    written = write_batch([Operation("PATCH", ROW, body, {"If-Match": "*"}) for body in bodies], "b_1")
    message = email.message_from_bytes(b'Content-Type: multipart/mixed; boundary="b_1"\r\n\r\n' + written)
    parts = message.get_payload() if bodies else []
    assert [part["Content-Type"] for part in parts] == ["application/http"] * len(bodies)
    for found, body in zip(parts, bodies, strict=True):
        line, _, rest = found.get_payload().partition("\r\n")
        assert line == f"PATCH {ROW} HTTP/1.1"
        inner = email.message_from_string(rest)
        assert (inner["If-Match"], json.loads(inner.get_payload())) == ("*", body)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_responses_are_read_in_order(end):
    """Statuses, headers and bodies are read, with either line end."""
    found = read_batch(
        response(part(204, end=end), part(412, '{"error": {}}', end), part(201, '{"a": 1}', end), end=end)
    )
    assert [(one.status, one.headers["x-tag"], one.body) for one in found] == [
        (204, "a", b""),
        (412, "a", b'{"error": {}}'),
        (201, "a", b'{"a": 1}'),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        Response(200, {"content-type": "text/html"}, b"<html>"),
        response(part(204), closed=False),
        response("Content-Type: application/http\r\n\r\nno status"),
        Response(200, {"content-type": "multipart/mixed; boundary=x"}, b""),
    ],
)
def test_what_is_no_batch_is_an_error(broken):
    """A page of a proxy, a batch that broke off and a part without a status are errors."""
    with pytest.raises(CijReplyError):
        read_batch(broken)


def test_a_batch_with_too_few_responses_is_an_error(scripted):
    """Requests without a response are not taken for done."""
    reply = response(part(204))
    answer = Answer(200, None, reply.headers, raw=lambda: [_http(reply)])
    operations = [Operation("PATCH", ROW, {})] * 2
    with pytest.raises(CijReplyError, match="2 requests got 1 responses"):
        run_client(scripted, answer, work=lambda client: client.batch(operations))
    assert scripted.requests[0].headers["prefer"] == "odata.continue-on-error"


def _http(reply):
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {reply.headers['content-type']}\r\nContent-Length: {len(reply.body)}\r\n\r\n"
    )
    return head.encode() + reply.body


@pytest.mark.parametrize(("hint", "most"), [("5", 5), ("50", 8), ("0", 8), ("many", 8), (None, 8)])
def test_the_recommended_concurrency_is_the_lesser_of_two(scripted, hint, most):
    """x-ms-dop-hint lowers how many requests are sent at once, and never raises it."""

    async def work(client):
        await client.get("WhoAmI")
        return client.recommended_concurrency

    answer = Answer(200, {}, {"x-ms-dop-hint": hint} if hint else {})
    assert run_client(scripted, answer, work=work, max_concurrency=8) == most


def test_a_final_code_is_not_repeated(scripted):
    """A request that fails with a code that is final is sent once, with others as often as usual."""
    refused = Answer(500, {"error": {"code": "0x80044151", "message": "SQL timeout expired."}})

    async def work(client):
        try:
            await client.write_many("Upsert", "contacts", [{}], final_codes=frozenset({"0x80044151"}))
        except Exception as error:
            return error.code

    assert run_client(scripted, refused, work=work) == "0x80044151"
    assert len(scripted.requests) == 1
