"""Lists in an S3-compatible object store, first opened by a task."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
    # Airflow answers "not found" also when it could not ask.
    assert unknown[:2] == ["CijError", False], unknown
