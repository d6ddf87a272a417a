"""An independent client of a running sandbox, with httpx and msal."""

import contextlib
import json
import ssl
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import msal
from cij_sandbox.testing import Sandbox, running_sandbox


class Organisation:
    """Raw access to a sandbox."""

    def __init__(self, sandbox: Sandbox, version: str = "v9.2") -> None:
        self.sandbox = sandbox
        self.context = ssl.create_default_context(cafile=sandbox.ca)
        self.context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.plain = httpx.Client(base_url=sandbox.base_url, verify=self.context, timeout=60)
        self.web = httpx.Client(
            base_url=f"{sandbox.base_url}/api/data/{version}/",
            verify=self.context,
            timeout=60,
            headers={"Authorization": f"Bearer {self.token()}", "OData-MaxVersion": "4.0", "OData-Version": "4.0"},
        )

    def token(self) -> str:
        application = msal.ConfidentialClientApplication(
            self.sandbox.client_id,
            client_credential=self.sandbox.client_secret,
            authority=self.sandbox.authority,
            instance_discovery=False,
            http_client=self.plain,
        )
        return application.acquire_token_for_client([f"{self.sandbox.base_url}/.default"])["access_token"]

    def close(self) -> None:
        self.web.close()
        self.plain.close()

    def get(self, path: str, **headers: str) -> dict:
        reply = self.web.get(path, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post(self, path: str, body: object, status: int = 204, **headers: str) -> httpx.Response:
        reply = self.web.post(path, json=body, headers=headers)
        assert reply.status_code == status, (reply.status_code, reply.text)
        return reply

    def segment(
        self, query: str = "", groups: tuple[tuple[str, str], ...] = (), base: str = "contact", **definition: object
    ) -> tuple[str, str]:
        """Create the two rows of a segment; return the segment's id and the definition's."""
        listed = [
            {"groupId": group, "includeType": include, "name": "a group", "inputType": "manualSelect"}
            for group, include in groups
        ]
        definition_id, segment_id = str(uuid.uuid4()), str(uuid.uuid4())
        body = {
            "msdynmkt_segmentdefinitionid": definition_id,
            "msdynmkt_segmentquery": query,
            "statecode": 0,
            "statuscode": 723270001,
            "msdynmkt_staticlistmembers": json.dumps(listed),
            **definition,
        }
        self.post("msdynmkt_segmentdefinitions", body)
        body = {
            "msdynmkt_segmentid": segment_id,
            "msdynmkt_displayname": "a segment",
            "msdynmkt_type": 11,
            "msdynmkt_source": 12,
            "msdynmkt_baseentitylogicalname": base,
            "statecode": 1,
            "statuscode": 2,
            "msdynmkt_sourcesegmentuid": definition_id,
        }
        self.post("msdynmkt_segments", body)
        return segment_id, definition_id

    def publish(self, segment_id: str) -> int:
        """Publish a segment; return the status it ends in."""
        self.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment_id})
        return self.wait(segment_id)

    def wait(self, segment_id: str, seconds: float = 30) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.get(f"msdynmkt_segments({segment_id})?$select=statuscode")["statuscode"]
            if status not in (2, 5, 6, 8):
                return status
            time.sleep(0.03)
        raise AssertionError("the segment did not come to an end")

    def members(self, segment_id: str) -> list[str]:
        found: list[str] = []
        page = 1
        while True:
            reply = self.post("msdynmkt_MembersList", {"SegmentId": segment_id, "PageNumber": page}, 200).json()
            assert reply["StatusCode"] == 200
            result = json.loads(reply["ResultText"])
            found += result["members"]
            page += 1
            if not result["hasNextPage"]:
                assert result["totalCount"] == len(found)
                return found

    def group(self, segment_id: str, group_id: str, page: int = 1, size: int = 5000) -> list[str]:
        body = {"SegmentId": segment_id, "GroupId": group_id, "PageNo": page, "PageSize": size}
        return json.loads(self.post("msdynmkt_ListGroupMembers", body, 200).json()["Response"])["entityIds"]

    def advance(self, **span: float) -> datetime:
        """Move the clock by hours, days, ...; return the new time."""
        seconds = timedelta(**span).total_seconds()
        reply = self.plain.post("/sandbox/clock", json={"advance_seconds": seconds})
        assert reply.status_code == 200, reply.text
        return datetime.fromisoformat(reply.json()["now"])

    def runs(self, definition_id: str) -> list[tuple[int, int]]:
        """Return type and status of the runs of a definition, oldest first, once none is under way."""
        query = f"msdynmkt_segmentexecutions?$filter=_msdynmkt_segmentdefinitionid_value eq {definition_id}"
        end = time.monotonic() + 20
        while True:
            found = self.get(f"{query}&$orderby=createdon,msdynmkt_startedon")["value"]
            if all(run["msdynmkt_finishedon"] for run in found):
                return [(run["msdynmkt_type"], run["statuscode"]) for run in found]
            assert time.monotonic() < end, found
            time.sleep(0.03)

    def journey(self, *segments: str, status: int = 2) -> str:
        """Create a journey, live unless told otherwise, with segments as audience, exclusion and suppression."""
        names = ("audience", "exclusionSegments", "suppressionSegments")
        text = json.dumps({name: f"{{{segment.upper()}}}" for name, segment in zip(names, segments, strict=False)})
        states = {1: 0, 2: 1, 3: 2}
        row_id = str(uuid.uuid4())
        body = {"msdynmkt_journeyid": row_id, "msdynmkt_name": "a journey", "msdynmkt_journeyjson": text}
        self.post("msdynmkt_journeys", {**body, "statecode": states[status], "statuscode": status})
        return row_id

    def status(self, segment_id: str) -> int:
        return self.get(f"msdynmkt_segments({segment_id})")["statuscode"]


@contextlib.contextmanager
def running_organisation(*options: str) -> Iterator[Organisation]:
    """Run a sandbox with options of ``cij-sandbox``; give a client of it."""
    with running_sandbox(*options) as sandbox:
        organisation = Organisation(sandbox)
        yield organisation
        organisation.close()
