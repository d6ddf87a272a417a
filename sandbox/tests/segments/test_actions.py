"""Actions of segments: groups, limits, publishing and members."""

import json
import time
import uuid

import pytest

GROUP = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "aaaaaaaa-0000-4000-8000-000000000002"


def ids(count):
    """Return fresh ids."""
    return [str(uuid.uuid4()) for _ in range(count)]


def test_a_group_is_a_set(org):
    """Adding an id twice, in any format, makes one member, and removing is idempotent."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    one, two = ids(2)
    body = {"SegmentId": segment.upper(), "GroupId": f"{{{GROUP}}}"}
    org.post(
        "msdynmkt_AddStaticMembers", {**body, "EntityIds": [one, one.upper(), f"{{{one}}}", one.replace("-", ""), two]}
    )
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [one]})
    assert org.group(segment, GROUP) == sorted([one, two])
    org.post("msdynmkt_RemoveStaticMembers", {**body, "EntityIds": [two, two]})
    org.post("msdynmkt_RemoveStaticMembers", {**body, "EntityIds": [two]})
    assert org.group(segment, GROUP) == [one]
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": []})


def test_pages_of_a_group_are_its_members_cut_up(org):
    """The pages of a group are disjoint, complete and end with an empty one."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    wanted = ids(25)
    org.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": GROUP, "EntityIds": wanted})
    pages = [org.group(segment, GROUP, page, 10) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert sorted(member for page in pages for member in page) == sorted(wanted)


def test_a_thousand_ids_may_be_added_and_any_number_removed(org):
    """1,001 ids in an Add are refused and nothing is added; a Remove takes them."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    body = {"SegmentId": segment, "GroupId": GROUP}
    many = ids(1001)
    refused = org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": many}, 400)
    assert refused.json()["error"]["code"] == "0x80040265"
    assert "1,000" in refused.json()["error"]["message"]
    assert org.group(segment, GROUP) == []
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": many[:1000]})
    org.post("msdynmkt_RemoveStaticMembers", {**body, "EntityIds": many})
    assert org.group(segment, GROUP) == []


def test_a_group_holds_200_000_ids(org):
    """The 200,001st id is refused with its whole call; ids that are already in the group do not count."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    body = {"SegmentId": segment, "GroupId": GROUP}
    for start in range(0, 200_000, 1000):
        batch = [f"00000000-0000-4000-8000-{number:012x}" for number in range(start, start + 1000)]
        if start == 199_000:
            batch[-1] = batch[0]
        org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": batch})
    two = ids(2)
    refused = org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": two}, 400)
    assert "200,000" in refused.json()["error"]["message"]
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [two[0], "00000000-0000-4000-8000-000000000001"]})
    assert len(org.group(segment, GROUP, 40, 5000)) == 5000
    assert org.group(segment, GROUP, 41, 5000) == []


@pytest.mark.parametrize(
    ("action", "change", "code", "words"),
    [
        ("Add", {"EntityIds": ["nobody"]}, "0x80040265", "nobody"),
        ("Add", {"EntityIds": [None]}, "0x80040265", "None"),
        ("Add", {"EntityIds": "x"}, "0x80048d19", "'EntityIds'"),
        ("Add", {"EntityIds": None}, "0x80048d19", "'EntityIds'"),
        ("Add", {"SegmentId": 5}, "0x80048d19", "'SegmentId'"),
        ("Add", {"GroupId": "x"}, "0x80040265", "GroupId"),
        ("Add", {"GroupId": OTHER}, "0x80040265", OTHER),
        ("Add", {"SegmentId": OTHER}, "0x80040265", OTHER),
        ("Add", {"segmentid": OTHER}, "0x80048d19", "The parameter 'segmentid' in the request payload is not a valid"),
        ("Remove", {"GroupId": OTHER}, "0x80040265", OTHER),
    ],
)
def test_wrong_parameters_are_named(org, action, change, code, words):
    """An unknown, missing or invalid parameter is named, and nothing is added."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    body = {"SegmentId": segment, "GroupId": GROUP, "EntityIds": ids(1), **change}
    reply = org.post(f"msdynmkt_{action}StaticMembers", body, 400)
    assert reply.json()["error"]["code"] == code
    assert words in reply.json()["error"]["message"]
    assert org.group(segment, GROUP) == []


@pytest.mark.parametrize(
    "paging", [{"PageNo": 0}, {"PageSize": 0}, {"PageNo": "1"}, {"PageNo": True}, {"PageSize": None}]
)
def test_pages_count_from_one(org, paging):
    """PageNo and PageSize are required numbers from 1."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    org.post(
        "msdynmkt_ListGroupMembers", {"SegmentId": segment, "GroupId": GROUP, "PageNo": 1, "PageSize": 1, **paging}, 400
    )


def test_a_segment_walks_from_draft_to_live(org):
    """Publish answers at once; then the segment exports, computes and is live, and the run is on record."""
    segment, definition = org.segment("PROFILE(contact)")
    assert org.get(f"msdynmkt_segments({segment})")["msdynmkt_membercount"] is None
    org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment})
    row = org.get(f"msdynmkt_segmentdefinitions({definition})")
    assert (row["statecode"], row["statuscode"], row["msdynmkt_computationstatus"]) == (0, 723270002, 723270000)
    seen = []
    end = time.monotonic() + 10
    while not seen or (seen[-1] not in ((0, 1), (1, 3)) and time.monotonic() < end):
        row = org.get(f"msdynmkt_segments({segment})")
        if not seen or seen[-1] != (row["statecode"], row["statuscode"]):
            seen.append((row["statecode"], row["statuscode"]))
    assert seen == [(1, 5), (1, 6), (0, 1)]
    count = len(org.members(segment))
    assert row["msdynmkt_membercount"] == count > 1900
    assert row["msdynmkt_lastevaluated"]
    row = org.get(f"msdynmkt_segmentdefinitions({definition})")
    assert (row["statuscode"], row["msdynmkt_computationstatus"]) == (723270000, 723270001)
    runs = org.get(
        f"msdynmkt_segmentexecutions?$filter=_msdynmkt_segmentdefinitionid_value eq {definition} and "
        f"msdynmkt_startedon ge 2020-01-01T00:00:00Z&$orderby=msdynmkt_startedon desc&$top=1"
    )["value"]
    assert [(run["statuscode"], run["msdynmkt_membershipcount"], run["msdynmkt_type"]) for run in runs] == [
        (723270002, count, 723270000)
    ]
    status = json.loads(org.post("msdynmkt_SegmentStatus", {"SegmentId": segment}, 200).json()["ResultText"])
    assert (status["segmentId"], status["lastExecution"]["status"]) == (segment, "Success")


def test_members_change_with_the_next_publish_only(org):
    """What is added after a run is seen in the group at once and in the segment after the next run."""
    segment, definition = org.segment(groups=((GROUP, "Include"), (OTHER, "Exclude")))
    one, two, three = ids(3)
    body = {"SegmentId": segment, "GroupId": GROUP}
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [one, two]})
    org.post("msdynmkt_AddStaticMembers", {**body, "GroupId": OTHER, "EntityIds": [two]})
    assert org.publish(segment) == 1
    assert org.members(segment) == [one]
    org.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [three]})
    assert org.members(segment) == [one]
    org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment})
    assert org.members(segment) == [one]
    assert org.wait(segment) == 1
    assert sorted(org.members(segment)) == sorted([one, three])
    runs = org.get(f"msdynmkt_segmentexecutions?$filter=_msdynmkt_segmentdefinitionid_value eq {definition}")["value"]
    assert [run["statuscode"] for run in runs] == [723270002, 723270002]


def test_a_group_taken_from_the_definition_forgets_its_members(org):
    """A group that is removed from the definition is unknown, and empty when it comes back."""
    segment, definition = org.segment(groups=((GROUP, "Include"), (OTHER, "Include")))
    org.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": GROUP, "EntityIds": ids(2)})
    both = org.get(f"msdynmkt_segmentdefinitions({definition})")["msdynmkt_staticlistmembers"]
    for groups in (json.dumps(json.loads(both)[1:]), both):
        reply = org.web.patch(
            f"msdynmkt_segmentdefinitions({definition})",
            json={"msdynmkt_staticlistmembers": groups},
            headers={"If-Match": "*"},
        )
        assert reply.status_code == 204
    assert org.group(segment, GROUP) == []


def test_ten_groups_and_no_more(org):
    """A definition takes ten groups of different ids; an eleventh or a repeated id is refused."""

    def text(groups):
        return json.dumps(
            [{"groupId": group, "includeType": "Include", "name": "n", "inputType": "manualSelect"} for group in groups]
        )

    ten = ids(10)
    org.post("msdynmkt_segmentdefinitions", {"msdynmkt_staticlistmembers": text(ten)})
    for bad, words in ((ids(11), "at most 10"), ([ten[0], ten[0].upper()], "twice")):
        reply = org.post("msdynmkt_segmentdefinitions", {"msdynmkt_staticlistmembers": text(bad)}, 400)
        assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("PROFILE(contact).FILTER(firstname == 'A' AND lastname == 'B')", 400, "position 41"),
        ("PROFILE(contact).FILTER(firstname CONTAINS 'A')", 400, "position 34"),
        ("PROFILE(contact", 400, "position 15"),
        ("SELECT 1", 400, "position 0"),
        ("PROFILE(contact).FILTER(firstname == #)", 400, "position 37"),
        ("PROFILE(contact).RELATEOPTIONAL(x, y).FILTER(ISNULL(a))", 501, "RELATEOPTIONAL"),
        ("SEGMENT(abc)", 501, "SEGMENT"),
        ("PROFILE(contact) INTERSECT INTERACTION(a, b)", 501, "INTERACTION"),
        ("PROFILE(contact).FILTER(DATEDIFF(day, a, b) > 1)", 501, "DATEDIFF"),
    ],
)
def test_a_query_is_checked_at_publish(org, query, status, words):
    """A query that does not parse is refused with its position, one that is not implemented with its construct."""
    segment, _ = org.segment(query)
    reply = org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment}, status)
    assert words in reply.json()["error"]["message"]
    assert org.get(f"msdynmkt_segments({segment})")["statuscode"] == 2


@pytest.mark.parametrize(
    "query",
    [
        "PROFILE(martian)",
        "PROFILE(lead)",
        "PROFILE(contact).FILTER(shoesize > 3)",
        "PROFILE(contact).FILTER(lastname > 3)",
    ],
)
def test_a_query_that_does_not_fit_the_data_ends_in_error(org, query):
    """A query that does not match the table puts the segment into Error, with the reason."""
    segment, definition = org.segment(query)
    assert org.publish(segment) == 3
    assert org.get(f"msdynmkt_segments({segment})")["statecode"] == 1
    run = org.get(f"msdynmkt_segmentexecutions?$filter=_msdynmkt_segmentdefinitionid_value eq {definition}")["value"][0]
    assert run["statuscode"] == 723270003
    status = json.loads(org.post("msdynmkt_SegmentStatus", {"SegmentId": segment}, 200).json()["ResultText"])
    assert status["lastExecution"]["status"] == "Failed"
    assert status["lastExecution"]["statusMessage"]


def test_members_come_in_pages_of_any_size(org):
    """MembersList cuts the members into the pages that were asked for."""
    segment, _ = org.segment("PROFILE(contact)")
    assert org.publish(segment) == 1
    everyone = org.members(segment)
    found = []
    for page in range(1, 100):
        body = {"SegmentId": segment, "PageNumber": page, "PageSize": 333}
        result = json.loads(org.post("msdynmkt_MembersList", body, 200).json()["ResultText"])
        assert (result["pageNumber"], result["pageSize"], result["totalCount"]) == (page, 333, len(everyone))
        found += result["members"]
        if not result["hasNextPage"]:
            break
    assert found == everyone


def test_a_person_can_look_at_a_segment(org):
    """The page behind a link shows the segment, escaped, without its members."""
    segment, definition = org.segment("PROFILE(contact).FILTER(creditlimit < 1)", ((GROUP, "Include"),))
    org.web.patch(f"msdynmkt_segments({segment})", json={"msdynmkt_displayname": "<script>alert(1)</script>"})
    reply = org.plain.get(f"/main.aspx?pagetype=entityrecord&etn=msdynmkt_segment&id={segment}")
    assert reply.status_code == 200
    assert "<script>" not in reply.text
    assert "&lt;script&gt;" in reply.text
    assert definition in reply.text
    assert "creditlimit &lt; 1" in reply.text
    assert org.plain.get("/main.aspx?etn=msdynmkt_segment&id=x").status_code == 404


def test_an_evaluation_goes_on_while_others_write(org):
    """A segment of many pages is computed while rows are written, and neither is disturbed."""
    segment, _ = org.segment(groups=((GROUP, "Include"),))
    everyone = [f"00000000-0000-4000-9000-{number:012x}" for number in range(30_000)]
    for start in range(0, 30_000, 1000):
        body = {"SegmentId": segment, "GroupId": GROUP, "EntityIds": everyone[start : start + 1000]}
        org.post("msdynmkt_AddStaticMembers", body)
    org.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment})
    other, _ = org.segment(groups=((OTHER, "Include"),))
    while org.get(f"msdynmkt_segments({segment})")["statuscode"] in (5, 6):
        org.post("msdynmkt_AddStaticMembers", {"SegmentId": other, "GroupId": OTHER, "EntityIds": ids(5)})
    assert org.wait(segment) == 1
    assert org.members(segment) == everyone
