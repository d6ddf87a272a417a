"""``$batch``: requests written as a multipart body, and the responses read from one. Pure.

Source: Dataverse docs, "Execute batch operations using the Web API". The requests stand outside change sets, so that
each succeeds or fails by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from airflow_provider_cij.dataverse.responses import Response, unreadable

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s";]+))', re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})\b")


class Operation(NamedTuple):
    """One request of a batch.

    :param method: such as ``PATCH``
    :param path: from the host on, percent-encoded, such as ``/api/data/v9.2/contacts(00000000-…)``
    :param body: its JSON object, or the text of one
    :param headers: its headers; default none
    """

    method: str
    path: str
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] = MappingProxyType({})


def write_batch(operations: Sequence[Operation], boundary: str) -> bytes:
    """Return the body of a batch.

    :param operations: its requests, at most 1,000
    :param boundary: a word that no request contains
    """
    parts = []
    for operation in operations:
        headers = "".join(f"{name}: {value}\r\n" for name, value in operation.headers.items())
        body = operation.body
        parts.append(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            f"{operation.method} {operation.path} HTTP/1.1\r\nContent-Type: application/json; type=entry\r\n{headers}"
            f"\r\n{body if isinstance(body, str) else json.dumps(body, allow_nan=False)}\r\n"
        )
    return f"{''.join(parts)}--{boundary}--\r\n".encode()


def read_batch(response: Response) -> list[Response]:
    """Read the responses of a batch, in the order of its requests.

    :param response: the response to the batch
    :raises CijReplyError: it is no batch response
    """
    boundary = _BOUNDARY.search(response.headers.get("content-type", ""))
    if boundary is None:
        raise unreadable(response, "no batch")
    delimiter = b"--" + (boundary[1] or boundary[2]).encode()
    # A part begins after a line with the delimiter; the last delimiter has two more dashes.
    pieces = re.split(rb"(?:\A|\r?\n)" + re.escape(delimiter) + rb"(--)?[ \t]*(?:\r?\n|\Z)", response.body)
    if pieces[-2:-1] != [b"--"]:
        raise unreadable(response, "a batch that broke off")
    return [_part(piece, response) for piece in pieces[2:-2:2]]


def _part(piece: bytes, whole: Response) -> Response:
    _, _, http = re.sub(rb"\r\n", rb"\n", piece).partition(b"\n\n")
    head, _, body = http.partition(b"\n\n")
    status = _STATUS.match(head)
    if status is None:
        raise unreadable(whole, "a batch with a part that is no response")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    return Response(int(status[1]), headers, body.strip(), whole.request_name, whole.ids)
