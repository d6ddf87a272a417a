"""Batches, written and read as bytes."""

import email
import json
import re
import uuid

BINARY = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"


def operation(line, body=None, content_id=None, **headers):
    """Write one request as a part."""
    given_id = f"Content-ID: {content_id}\r\n" if content_id else ""
    if body is not None:
        headers = {"Content-Type": "application/json; type=entry", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{BINARY}{given_id}\r\n{line} HTTP/1.1\r\n{lines}\r\n{'' if body is None else json.dumps(body)}"


def multipart(boundary, parts):
    """Write parts as a multipart body."""
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"


def change_set(*parts):
    """Write a change set as a part."""
    name = f"changeset_{uuid.uuid4()}"
    return f'Content-Type: multipart/mixed; boundary="{name}"\r\n\r\n{multipart(name, parts)}'


def post(org, text, content_type='multipart/mixed; boundary="batch_1"', **headers):
    """Send a text as a batch."""
    return org.web.post("$batch", content=text.encode(), headers={"Content-Type": content_type, **headers})


def send(org, *parts, **headers):
    """Send a batch of parts."""
    return post(org, multipart("batch_1", parts), **headers)


def answers(reply):
    """Read a batch response with the standard library: (status, headers, content), a list of these for a change set."""
    assert re.fullmatch("multipart/mixed; boundary=batchresponse_[0-9a-f-]{36}", reply.headers["Content-Type"])
    head = f"Content-Type: {reply.headers['Content-Type']}\r\n\r\n".encode()
    return [_answer(part) for part in email.message_from_bytes(head + reply.content).get_payload()]


def _answer(part):
    if part.is_multipart():
        return [_answer(inner) for inner in part.get_payload()]
    assert (part["Content-Type"], part["Content-Transfer-Encoding"]) == ("application/http", "binary")
    line, _, rest = part.get_payload().partition("\r\n")
    message = email.message_from_string(rest)
    status = int(re.fullmatch("HTTP/1.1 ([0-9]{3}) [A-Z][A-Za-z ]+", line)[1])
    content = message.get_payload().strip()
    return status, {**dict(message), "Content-ID": part["Content-ID"]}, json.loads(content) if content else None
