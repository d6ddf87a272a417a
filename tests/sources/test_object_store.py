"""Lists in an S3-compatible object store, first opened by a task."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import airflow
import pytest

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import reading, writing
from airflow_provider_cij.operators._exporting import export
from airflow_provider_cij.sources import FromFile

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytest.importorskip("airflow.providers.amazon.aws.fs.s3")

_SCRIPT = """
import asyncio, json, os, urllib.request
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
store = f"http://{host}:{port}"
extra = {"endpoint_url": store, "region_name": "us-east-1"}
os.environ["AIRFLOW_CONN_STORE"] = json.dumps({"conn_type": "aws", "login": "a", "password": "b", "extra": extra})


def put(path, data=None):
    headers = {"Content-Type": "text/csv"}
    urllib.request.urlopen(urllib.request.Request(store + path, data=data, method="PUT", headers=headers)).close()


put("/bucket")
put("/bucket/in.csv", b"contactid\\nx\\ny\\n")

from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import outside, writing
from airflow_provider_cij.sources import FromFile


async def read(url):
    return [list(values) async for _, values in FromFile(url).chunks(None)]


async def write(url):
    async with outside(writing(url, ["contactid"])) as file:
        file.write(["z"])


async def main(work, url):
    try:
        return await work(url)
    except CijError as error:
        return type(error).__name__, error.permanent, str(error)


out = [
    asyncio.run(main(*job))
    for job in (
        (read, "s3://store@bucket/in.csv"),
        (write, "s3://store@bucket/out.csv"),
        (read, "s3://store@bucket/out.csv"),
        (read, "s3://store@bucket/nothing.csv"),
        (read, "s3://nobody@bucket/in.csv"),
    )
]
print(json.dumps(out))
server.stop()
"""


def test_a_store_opens_within_a_running_event_loop():
    """A store is opened within a running event loop for reading and writing; a missing object is an input error."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    first, write, read, missing, unknown = json.loads(done.stdout.splitlines()[-1])
    assert (first, write, read) == ([["x", "y"]], None, [["z"]])
    assert missing[:2] == ["CijInputError", True]
    assert "'s3://store@bucket/nothing.csv' can't be opened" in missing[2]
    # Airflow answers "not found" also when it could not ask. Airflow 3.1.0 can't ask outside a task.
    assert unknown[:2] == ["CijError", False] or airflow.__version__ == "3.1.0", unknown


class _Bucket:
    """A bucket of a server that speaks S3, and what was asked of it.

    :param address: the server
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []
        self.forbidden = ""

    def url(self, name: str) -> str:
        """Return the URL of an object, with the Airflow connection."""
        return f"s3://moto@bucket/{name}"

    def ask(self, path: str, method: str = "GET") -> str:
        """Ask the server."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}{path}", method=method)) as response:  # noqa: S310
            return response.read().decode()


@pytest.fixture(scope="module")
def server() -> Iterator[_Bucket]:
    """Run a server with a bucket and an Airflow connection; it refuses requests that begin with a forbidden text."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app: Any = DomainDispatcherApplication(create_backend_app)

    def watched(environ: Any, start_response: Any) -> Any:
        asked = f"{environ['REQUEST_METHOD']} {environ.get('QUERY_STRING', '')}"
        bucket.asked.append(asked)
        if bucket.forbidden and asked.startswith(bucket.forbidden):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or -1))
            start_response("403 Forbidden", [])
            return [b""]
        return app(environ, start_response)

    http = make_server("127.0.0.1", 0, watched, threaded=True)
    bucket = _Bucket(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    bucket.ask("/bucket", "PUT")
    extra = {"endpoint_url": bucket.address, "region_name": "us-east-1"}
    connection = json.dumps({"conn_type": "aws", "login": "a", "password": "b", "extra": extra})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_MOTO", connection)
        yield bucket
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def bucket(server: _Bucket) -> _Bucket:
    """Return the bucket, with nothing forbidden and nothing asked."""
    server.asked, server.forbidden = [], ""
    return server


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_exported_list_is_read_back(bucket, suffix):
    """A list of 200,000 members is exported to an S3-like store and read back by another loop, id by id."""
    people = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(200_000)]
    url = bucket.url(f"members_manual__2026-11-27T10:00:00+00:00{suffix}")

    async def pages() -> AsyncIterator[list[str]]:
        for start in range(0, len(people), 5000):
            yield people[start : start + 5000]

    log = logging.getLogger("test")
    assert asyncio.run(export(log, url, "contactid", pages)) == 200_000
    found = asyncio.run(read_member_ids(FromFile(url, "contactid").chunks(None), bound_of("max_invalid", 0)))
    assert (found.read, len(found.ids), found.duplicate) == (200_000, 200_000, 0)
    assert {one for batch in found.ids.batches(5000) for one in batch} == set(people)


def test_an_upload_in_parts_that_fails_is_aborted(bucket):
    """When the end of an upload in parts is refused, the older object stays, and no parts are left in the store."""
    url = bucket.url("large.csv")
    with writing(url, ["id"]) as file:
        file.write(["older"])
    bucket.forbidden = "POST uploadId="  # which puts the parts together
    with pytest.raises(CijError, match="was not written") as raised, writing(url, ["id"]) as file:
        for _ in range(110):
            file.write(["x" * 1_000_000])
    assert not raised.value.permanent
    assert sum("partNumber=" in one for one in bucket.asked) == 3
    with reading(url) as older:
        assert older.read() == b"id\nolder\n"
    assert "<Upload>" not in bucket.ask("/bucket?uploads")
