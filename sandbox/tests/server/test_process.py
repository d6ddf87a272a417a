"""The process: output, state, signals, and many clients."""

import json
import signal
import stat
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from ..organisation import Organisation, running_organisation

COMMAND = [sys.executable, "-m", "cij_sandbox"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_leaves_nothing(number):
    """The sandbox prints one line of JSON when ready, and a signal ends it with exit code 0 and no files left."""
    with subprocess.Popen([*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        sandbox = Sandbox(**json.loads(process.stdout.readline()))
        folder = Path(sandbox.ca).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "server.key.pem").stat().st_mode) == 0o600
        org = Organisation(sandbox)
        org.get("WhoAmI")
        process.send_signal(number)
        before = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - before < 8
        org.close()
        assert process.stdout.read() == process.stderr.read() == ""
    assert not folder.exists()


def test_the_text_for_people_names_the_connection():
    """Without --json the text says how to reach it and how to stop it."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(8)]
        process.terminate()
        text = "".join(lines) + process.stdout.read()
    assert "https://localhost:" in text
    assert "AIRFLOW_CONN_CIJ_DEFAULT='cij://" in text
    assert "Ctrl-C" in text


def test_help_lists_the_assumptions():
    """The help lists the assumptions of the sandbox."""
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Where the documents are silent it assumes:" in shown


def test_the_state_survives_a_restart(tmp_path):
    """Rows, members, certificate and secret are kept in the state file, and pending runs go on."""
    state = str(tmp_path / "state.sqlite")
    group = str(uuid.uuid4())
    member = str(uuid.uuid4())
    with running_organisation("--state", state, "--contacts", "5", "--compute-seconds", "0") as org:
        segment, _ = org.segment(groups=((group, "Include"),))
        org.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": group, "EntityIds": [member]})
        assert org.publish(segment) == 1
        people = org.get("contacts")["value"]
        first = org.sandbox
    for path in (state, *map(str, tmp_path.glob("state.sqlite-*"))):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    with running_sandbox("--state", state, "--contacts", "9", "--compute-seconds", "2") as second:
        assert (second.ca, second.client_secret) == (first.ca, first.client_secret)
        assert second.ca == f"{state}.ca.pem"
        org = Organisation(second)
        assert org.get("contacts")["value"] == people
        assert org.members(segment) == org.group(segment, group) == [member]
        other, _ = org.segment("PROFILE(contact)")
        org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": other})
        org.close()
    with running_organisation("--state", state) as org:
        assert org.wait(other) == 1
        assert len(org.members(other)) == 5


def test_the_same_seed_makes_the_same_people():
    """The first contacts and leads of a large organisation are those of a small one with the same seed."""

    def people(count, *options):
        with running_organisation("--contacts", count, "--leads", count, *options) as org:
            rows = [org.get(f"{table}?$orderby=versionnumber")["value"] for table in ("contacts", "leads")]
        own = ("@odata.etag", "versionnumber")
        return [[{name: row[name] for name in row if name not in own} for row in table] for table in rows]

    small, large, other = people("30"), people("300"), people("30", "--seed", "2")
    for few, many, others in zip(small, large, other, strict=True):
        assert (len(few), len(many)) == (30, 300)
        assert many[:30] == few != others
        assert any(row["address1_county"] is None for row in many)
        emails = [row["emailaddress1"] for row in many]
        assert None in emails
        assert len(set(emails)) < len(emails) - emails.count(None) + 1


def test_fifty_two_clients_at_once(org):
    """Fifty-two clients that add to one group at the same time lose nothing and see no error."""
    group = str(uuid.uuid4())
    segment, _ = org.segment(groups=((group, "Include"),))
    batches = [[str(uuid.uuid4()) for _ in range(100)] for _ in range(104)]

    def add(batch):
        org.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": group, "EntityIds": batch})
        return org.get("contacts?$top=5")["value"]

    with ThreadPoolExecutor(52) as clients:
        assert all(clients.map(add, batches))
    found = org.group(segment, group, 1, 5000) + org.group(segment, group, 2, 5000) + org.group(segment, group, 3, 5000)
    assert sorted(found) == sorted(member for batch in batches for member in batch)


def test_a_port_that_is_taken_is_said_so(cij_sandbox):
    """A sandbox that cannot start says why."""
    port = cij_sandbox.base_url.rpartition(":")[2]
    with pytest.raises(RuntimeError, match="in use"), running_sandbox("--port", port):
        pass


def test_it_stops_soon_in_the_middle_of_an_evaluation(tmp_path):
    """A signal does not wait for an evaluation, which continues after a restart."""
    state = str(tmp_path / "state.sqlite")
    query = "PROFILE(contact).FILTER(lastname != 'x')" + " UNION PROFILE(contact).FILTER(firstname != 'x')" * 30
    with running_organisation("--state", state, "--contacts", "30000", "--compute-seconds", "0") as org:
        segment, _ = org.segment(query)
        org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment})
        while org.get(f"msdynmkt_segments({segment})")["statuscode"] == 5:
            pass
        time.sleep(0.1)
        assert org.get(f"msdynmkt_segments({segment})")["statuscode"] == 6
        before = time.monotonic()
    assert time.monotonic() - before < 8
    with running_organisation("--state", state) as org:
        assert org.wait(segment) == 1
        assert len(org.members(segment)) == 30_000


def test_very_long_numbers_are_refused(org):
    """A number of thousands of digits is a bad query, not a failure of the server."""
    reply = org.web.get(f"contacts?$filter=numberofchildren eq {'1' * 6000}")
    assert reply.status_code == 400
