"""``$batch``: many requests in one ("Execute batch operations using the Web API").

A batch is parsed as a whole before its first request is carried out, so a malformed one changes nothing.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import unquote

from cij_sandbox.core import errors
from cij_sandbox.core.errors import ODataError
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.annotations import refused

MAXIMUM_OPERATIONS = 1000
MAXIMUM_INNER_URL = 65_536
_BOUNDARY = re.compile(r'multipart/mixed\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s";]+))', re.IGNORECASE)
_REQUEST_LINE = re.compile(r"([A-Z]+) (.+) HTTP/1\.1")
_ROOTED = re.compile(r"/api/data/(v9\.[0-2])/(.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$(?!batch\b|metadata\b)([^/?]+)")
_LINE_END = re.compile(rb"\r?\n")
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Operation:
    """One request of a batch."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    content_id: str


class _RollBackError(Exception):
    """An operation of a change set failed, so that none is carried out."""


class Batch:
    """Carries out batches. ``committed`` is called after each change set."""

    def __init__(
        self, store: Store, answer: Callable[[Request], Answer], committed: Callable[[], None], *, lf_lines: bool
    ) -> None:
        self._lf_lines = lf_lines
        self._store = store
        self._answer = answer
        self._committed = committed

    def answer(self, request: Request) -> Answer:
        """Carry out a batch. Without ``odata.continue-on-error`` it ends with the first failure."""
        if request.method != "POST":
            raise errors.wrong_method(request.method, "POST")
        status, parts = 200, []
        # "If you can't use CRLF, add two non-CRLF line endings at the end of the batch request body".
        lenient = self._lf_lines or request.body.endswith(b"\n\n")
        body = _LINE_END.sub(b"\r\n", request.body) if lenient else request.body
        for unit in _read(replace(request, body=body)):
            if isinstance(unit, Operation):
                answered = self._run(unit, request, {})
                parts.append(_write_operation(unit, answered))
            else:
                boundary = f"changesetresponse_{uuid.uuid4()}"
                answers = self._change_set(unit, request)
                answered = answers[-1][1] if answers else Answer(200)
                written = _write(boundary, [_write_operation(operation, answer) for operation, answer in answers])
                parts.append(f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode() + written)
            if answered.status >= 400 and request.preference("odata.continue-on-error") in (None, "false"):
                status = answered.status
                break
        boundary = f"batchresponse_{uuid.uuid4()}"
        return Answer(status, _write(boundary, parts), {"Content-Type": f"multipart/mixed; boundary={boundary}"})

    def _change_set(self, operations: tuple[Operation, ...], outer: Request) -> list[tuple[Operation, Answer]]:
        """Carry out all operations or none; of a failed change set only the failure is answered.

        Assumption: actions are undone as well. On the real service a part of them happens outside the transaction.
        """
        answers: list[tuple[Operation, Answer]] = []
        references: dict[str, str] = {}
        try:
            with self._store.transaction():
                for operation in operations:
                    answer = self._run(operation, outer, references)
                    answers.append((operation, answer))
                    if answer.status >= 400:
                        raise _RollBackError
                    if "OData-EntityId" in answer.headers:
                        references[operation.content_id] = answer.headers["OData-EntityId"]
        except _RollBackError:
            return answers[-1:]
        self._committed()
        return answers

    def _run(self, operation: Operation, outer: Request, references: Mapping[str, str]) -> Answer:
        try:
            return self._answer(_request(operation, outer, references))
        except ODataError as error:
            answer = refused(error, operation.headers)
            return Answer(answer.status, answer.body, {"REQ_ID": str(uuid.uuid4()), **answer.headers})


def _request(operation: Operation, outer: Request, references: Mapping[str, str]) -> Request:
    """Return an operation as a request."""
    if len(operation.url) > MAXIMUM_INNER_URL:
        raise ODataError(414, "", f"The URL is longer than {MAXIMUM_INNER_URL} characters.")
    version, relative = _below_root(operation.url, outer)
    if reference := _REFERENCE.match(relative):
        version, row = _below_root(_referred(reference[1], references), outer)
        relative = row + relative[reference.end() :]
    encoded, _, query = relative.partition("?")
    path = unquote(encoded)
    if path.strip("/") == "$batch":
        raise errors.bad_query("A batch cannot contain another batch.")
    body = _with_references(operation.body, references)
    return Request(operation.method, outer.base_url, version, path, query, operation.headers, body)


def _below_root(url: str, outer: Request) -> tuple[str, str]:
    """Return the version of a URL and what follows it; a relative URL has the version of the batch."""
    if re.match("https?://", url, re.IGNORECASE):
        base = len(outer.base_url)
        if url[: base + 1].lower() != f"{outer.base_url}/":
            raise errors.bad_query("A request of a batch may only go to the organisation the batch was sent to.")
        url = url[base:]
    if not url.startswith("/"):
        return outer.version, url
    rooted = _ROOTED.fullmatch(url)
    if rooted is None:
        raise errors.no_such_resource(url.partition("?")[0].strip("/"))
    return rooted[1], rooted[2]


def _referred(content_id: str, references: Mapping[str, str]) -> str:
    if content_id not in references:
        raise errors.bad_query(f"Content-ID Reference: '${content_id}' does not exist in the batch context.")
    return references[content_id]


def _with_references(body: bytes, references: Mapping[str, str]) -> bytes:
    """Replace references in ``@odata.bind`` and ``@odata.id`` by the URLs of the rows they stand for."""
    try:
        content = json.loads(body) if b"$" in body else None
        return body if content is None else json.dumps(_resolved(content, references)).encode()
    except (ValueError, RecursionError):
        return body  # the operation itself is refused for it


def _resolved(content: object, references: Mapping[str, str], *, link: bool = False) -> object:
    if isinstance(content, dict):
        links = ("@odata.bind", "@odata.id")
        return {name: _resolved(value, references, link=name.endswith(links)) for name, value in content.items()}
    if isinstance(content, list):
        return [_resolved(value, references, link=link) for value in content]
    if link and isinstance(content, str) and (reference := _REFERENCE.fullmatch(content)):
        return _referred(reference[1], references)
    return content


def _read(request: Request) -> list[Operation | tuple[Operation, ...]]:
    units: list[Operation | tuple[Operation, ...]] = []
    total = 0
    for headers, content in cut(request.body, request.headers.get("content-type", "")):
        if headers.get("content-type", "").lower().startswith("multipart/mixed"):
            unit = tuple(_operation(*part) for part in cut(content, headers["content-type"]))
            _check_change_set(unit)
            units.append(unit)
            total += len(unit)
        else:
            units.append(_operation(headers, content))
            total += 1
    if total > MAXIMUM_OPERATIONS:
        raise errors.bad_query(
            "The current batch message contains too many parts. Only batch messages with a maximum number of "
            f"'{MAXIMUM_OPERATIONS}' query operations, including changeset operations, are allowed."
        )
    return units


def _check_change_set(operations: tuple[Operation, ...]) -> None:
    if len(operations) > MAXIMUM_OPERATIONS:
        raise errors.bad_query(
            "The current change set contains too many operations. A maximum number of "
            f"'{MAXIMUM_OPERATIONS}' operations are allowed in a change set."
        )
    ids = {operation.content_id for operation in operations}
    # Assumption: OData asks for Content-ID, one document of Dataverse says "can", and one report was refused without.
    if "" in ids or len(ids) < len(operations):
        raise errors.bad_query("Each request of a change set needs a header Content-ID with a value of its own.")
    for operation in operations:
        if operation.method not in _CHANGES:
            raise errors.bad_query(f"A change set cannot contain {operation.method} requests.")


def _operation(headers: Mapping[str, str], content: bytes) -> Operation:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/http":
        raise _malformed("A part is neither application/http nor, outside of change sets, multipart/mixed.")
    if headers.get("content-transfer-encoding", "").lower() != "binary":
        raise _malformed("A part lacks the header 'Content-Transfer-Encoding: binary'.")
    head, _, body = content.partition(b"\r\n\r\n")
    line, _, rest = head.decode("utf-8", "replace").partition("\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise _malformed("A part does not begin with a request line.")
    return Operation(found[1], found[2], _headers(rest), body, headers.get("content-id", ""))


def cut(content: bytes, content_type: str) -> list[tuple[dict[str, str], bytes]]:
    """Cut a multipart body into headers and contents; every line of it ends with CRLF."""
    boundary = _BOUNDARY.match(content_type)
    if boundary is None:
        raise errors.bad_query("A batch has the content type multipart/mixed and a boundary.")
    delimiter = re.escape((boundary[1] or boundary[2]).encode("latin-1", "replace"))
    pieces = re.split(rb"\r\n--" + delimiter + rb"(--)?[ \t]*(?=\r\n|\Z)", b"\r\n" + content)
    found: list[tuple[dict[str, str], bytes]] = []
    for closing, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if closing:
            return found
        head, _, body = piece[2:].partition(b"\r\n\r\n")
        found.append((_headers(head.decode("utf-8", "replace")), body))
    raise _malformed("The end of the batch or of a change set is missing.")


def _headers(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _malformed(why: str) -> ODataError:
    return errors.bad_payload("", f"System.ArgumentException: Stream was not readable. {why}")


def _write_operation(operation: Operation, answer: Answer) -> bytes:
    headers, body = answer.wire()
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    lines += [f"Content-ID: {operation.content_id}"] if operation.content_id else []
    lines += ["", f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _write(boundary: str, parts: list[bytes]) -> bytes:
    return b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
