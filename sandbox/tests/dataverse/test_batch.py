"""$batch: order, change sets, references, limits and errors."""

import contextlib
import json
import re
import uuid

import pytest
from cij_sandbox.core.errors import ODataError
from cij_sandbox.dataverse import batch
from hypothesis import given
from hypothesis import strategies as st

from ..batches import BINARY, answers, change_set, multipart, operation, post, send
from ..model import MODEL

TOO_LONG = "x" * 51  # for contact.lastname


@pytest.fixture
def mark(org):
    """Provide a job title that sets one test's contacts apart."""
    mark = f"batch {uuid.uuid4()}"
    yield mark
    rows = org.get(f"contacts?$filter=jobtitle eq '{mark}'&$select=contactid")["value"]
    send(org, *(operation(f"DELETE contacts({row['contactid']})") for row in rows))


def names(org, mark):
    """Return the names of the contacts with a job title."""
    return sorted(
        row["lastname"] for row in org.get(f"contacts?$filter=jobtitle eq '{mark}'&$select=lastname")["value"]
    )


def create(name, mark, content_id=None):
    """Write the creation of a contact as a part."""
    return operation("POST /api/data/v9.2/contacts", {"lastname": name, "jobtitle": mark}, content_id)


def test_the_answers_come_in_the_order_of_the_requests(org, mark):
    """Single requests are carried out and answered one after the other, as the document prints it."""
    query = f"contacts?$select=lastname&$orderby=lastname&$filter=jobtitle%20eq%20'{mark}'"
    reply = send(org, create("A", mark), create("Ö", mark), operation(f"GET /api/data/v9.2/{query}"))
    assert reply.status_code == 200, reply.text
    boundary = reply.headers["Content-Type"].partition("boundary=")[2]
    assert re.fullmatch(
        rf"(--{boundary}\r\n{BINARY}\r\nHTTP/1.1 204 No Content\r\nOData-Version: 4.0\r\n"
        r"OData-EntityId: \S+contacts\(\S+\)\r\nLocation: \S+\r\n\r\n\r\n){2}"
        rf"--{boundary}\r\n{BINARY}\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json; odata.metadata=minimal\r\n"
        rf"OData-Version: 4.0\r\n\r\n{{.*}}\r\n--{boundary}--\r\n",
        reply.text,
    )
    assert [row["lastname"] for row in json.loads(reply.text.split("\r\n")[-3])["value"]] == ["A", "Ö"]


def test_a_change_set_is_answered_by_content_id(org, mark):
    """A change set is answered by a part of its own, and later requests of the batch see its effect."""
    count = operation(f"GET contacts?$filter=jobtitle eq '{mark}'&$select=lastname")
    first, found = answers(send(org, change_set(create("A", mark, "1"), create("B", mark, "x2")), count))
    assert [(status, headers["Content-ID"]) for status, headers, _ in first] == [(204, "1"), (204, "x2")]
    assert len(found[2]["value"]) == 2


def test_a_change_set_happens_as_a_whole_or_not_at_all(org, mark):
    """One failure rolls the change set back, is its only answer, sets the status of the batch and ends it."""
    broken = change_set(create("A", mark, "1"), create(TOO_LONG, mark, "2"), create("C", mark, "3"))
    reply = send(org, create("before", mark), broken, create("after", mark))
    assert reply.status_code == 400
    (status, _, _), [(failed, headers, body)] = answers(reply)
    assert (status, failed, headers["Content-ID"], body["error"]["code"]) == (204, 400, "2", "0x80044331")
    assert uuid.UUID(headers["REQ_ID"])
    assert names(org, mark) == ["before"]


@pytest.mark.parametrize("wish", ["odata.continue-on-error", "return=minimal, odata.continue-on-error=true"])
def test_a_batch_goes_on_when_told_to(org, mark, wish):
    """With odata.continue-on-error the batch is a 200 and every request has its own answer."""
    missing = operation(f"DELETE contacts({uuid.uuid4()})")
    broken = change_set(create("A", mark, "1"), create(TOO_LONG, mark, "2"))
    reply = send(org, missing, broken, create("after", mark), Prefer=wish)
    assert reply.status_code == 200
    (gone, _, _), [(failed, _, _)], (made, _, _) = answers(reply)
    assert (gone, failed, made) == (404, 400, 204)
    assert names(org, mark) == ["after"]


def test_the_first_failure_is_the_status_of_the_batch(org, mark):
    """Without odata.continue-on-error the batch has the status of the request that failed."""
    reply = send(org, operation(f"GET contacts({uuid.uuid4()})"), create("after", mark))
    assert (reply.status_code, len(answers(reply))) == (404, 1)
    assert names(org, mark) == []


def test_a_row_is_referred_to_by_content_id(org, mark):
    """$1 stands for the row created under Content-ID 1: as a URL and where a navigation property is bound."""
    patch = operation("PATCH $1", {"lastname": "B"}, "2", If_Match="*")
    [made, changed] = answers(send(org, change_set(create("A", mark, "1"), patch)))[0]
    assert made[1]["OData-EntityId"] == changed[1]["OData-EntityId"]
    assert names(org, mark) == ["B"]
    bound = operation(
        "POST contacts", {"lastname": "C", "owningbusinessunit@odata.bind": "$first", "jobtitle": "costs $first"}, "2"
    )
    # A contact is no business unit, so the URL shows in the refusal.
    [(status, _, body)] = answers(send(org, change_set(create("A", mark, "first"), bound)))[0]
    assert status == 400
    assert re.search(r"/contacts\([0-9a-f-]{36}\)' is not a reference to a business unit", body["error"]["message"])
    assert names(org, mark) == ["B"]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("how", ["url", "bind"])
def test_a_reference_to_nothing_is_refused(org, mark, alone, how):
    """A Content-ID has to be declared before it is used, in the same change set."""
    if how == "url":
        used = operation("PATCH $1", {"lastname": "B"}, "9")
    else:
        used = operation("POST contacts", {"owningbusinessunit@odata.bind": "$1"}, "9")
    parts = (change_set(create("A", mark, "1")), used) if alone else (change_set(used, create("A", mark, "1")),)
    reply = send(org, *parts)
    assert reply.status_code == 400
    assert "Content-ID Reference: '$1' does not exist in the batch context." in reply.text


def test_urls_are_relative_rooted_or_absolute_but_of_this_organisation(org):
    """A request of a batch may be written in any form of URL; another organisation's is refused."""
    base = org.sandbox.base_url
    forms = [
        "WhoAmI",
        "/api/data/v9.0/WhoAmI()",
        f"{base}/api/data/v9.2/WhoAmI",
        f"{base.upper()}/api/data/v9.1/WhoAmI",
    ]
    reply = send(org, *(operation(f"GET {form}") for form in forms))
    assert [status for status, _, _ in answers(reply)] == [200] * 4
    assert "/api/data/v9.0/$metadata" in answers(reply)[1][2]["@odata.context"]
    strangers = [
        ("https://elsewhere.example/api/data/v9.2/WhoAmI", 400),
        (f"{base}.example/api/data/v9.2/WhoAmI", 400),
        ("/api/data/v8.2/WhoAmI", 404),
        ("/main.aspx", 404),
        ("$batch", 400),
        ("/api/data/v9.2/$batch", 400),
        ("%24batch", 400),
        ("$metadata", 501),
    ]
    for url, status in strangers:
        assert send(org, operation(f"POST {url}" if "batch" in url else f"GET {url}")).status_code == status, url


@pytest.mark.parametrize("url", ["$99", "/api/data/v9.2/$99", "{root}/$99", "$99/lastname"])
@pytest.mark.parametrize("inside", [True, False])
def test_an_unknown_content_id_in_a_url_is_a_bad_request(org, mark, url, inside):
    """A reference to a Content-ID that no earlier request has is a 400, however the URL is written."""
    url = url.format(root=f"{org.sandbox.base_url}/api/data/v9.2")
    part = operation(f"PATCH {url}", {"lastname": "A", "jobtitle": mark}, "2")
    [answer] = answers(send(org, change_set(part) if inside else part))
    status, _, body = answer[0] if inside else answer
    assert (status, body["error"]["code"]) == (400, "0x80060888")
    assert body["error"]["message"] == "Content-ID Reference: '$99' does not exist in the batch context."


@pytest.mark.parametrize("body", [{"parentcustomerid_account@odata.bind": "$99"}, {"rows": [{"@odata.id": "$99"}]}])
def test_an_unknown_content_id_in_a_body_is_a_bad_request(org, mark, body):
    """A reference in a body to a Content-ID that no earlier request has is a 400, at any depth."""
    reply = send(org, change_set(create("A", mark, "1"), operation("POST contacts", body, "2")))
    assert reply.status_code == 400
    [[(_, _, answer)]] = answers(reply)
    assert answer["error"]["message"] == "Content-ID Reference: '$99' does not exist in the batch context."
    assert names(org, mark) == []


def test_a_row_of_the_change_set_is_changed_by_its_content_id(org, mark):
    """A later request of the change set changes a new row or one of its properties by reference, as documented."""
    change = operation("PATCH /api/data/v9.2/$1", {"firstname": "B"}, "2")
    single = operation("PUT $1/lastname", {"value": "BBBBB"}, "3")
    [answer] = answers(send(org, change_set(create("A", mark, "1"), change, single)))
    assert [status for status, _, _ in answer] == [204, 204, 204]
    rows = org.get(f"contacts?$filter=jobtitle eq '{mark}'")["value"]
    assert [(row["firstname"], row["lastname"]) for row in rows] == [("B", "BBBBB")]


def test_preferences_belong_to_each_request(org, mark):
    """Headers of a part count for that part only."""
    wish = {"Prefer": "return=representation"}
    whole = operation("POST contacts", {"lastname": "A", "jobtitle": mark}, Prefer=wish["Prefer"])
    assert [status for status, _, _ in answers(send(org, whole, create("B", mark)))] == [201, 204]
    assert [status for status, _, _ in answers(send(org, create("C", mark), **wish))] == [204]


def test_a_url_may_be_twice_as_long_in_a_batch(org):
    """What is too long for a GET fits into a batch, up to 65,536 characters."""
    head = "contacts?$select=contactid&$filter=lastname%20eq%20'"
    for length, inside in ((40_000, 200), (65_536, 200), (65_537, 414)):
        url = f"{head}{'x' * (length - len(head) - 1)}'"
        assert send(org, operation(f"GET {url}")).status_code == inside
        if length == 40_000:
            assert org.web.get(url).status_code == 414


def test_a_long_query_goes_by_batch(org):
    """FetchXML may be written into a batch as it is, and be longer than a URL."""
    values = "".join(f"<value>{uuid.uuid4()}</value>" for _ in range(700))
    condition = f"<condition attribute='contactid' operator='not-in'>{values}</condition>"
    text = f"<fetch top='1'><entity name='contact'><filter>{condition}</filter></entity></fetch>"
    assert len(text) > 33_000
    [(status, _, body)] = answers(send(org, operation(f"GET contacts?fetchXml={text}")))
    assert (status, len(body["value"])) == (200, 1)


def test_at_most_a_thousand_requests(org, mark):
    """1,000 requests are carried out; with one more none is, in a change set and in a batch."""
    many = [create(f"{number:04}", mark, number + 1) for number in range(1001)]
    for parts, words in (((change_set(*many),), "current change set"), (many, "current batch message")):
        reply = send(org, *parts)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80060888")
        assert words in reply.json()["error"]["message"]
        assert names(org, mark) == []
    reply = send(org, change_set(*many[:999]), create("single", mark))
    assert reply.status_code == 200
    assert len(names(org, mark)) == 1000


def test_rows_created_and_published_together_go_live(org, mark):
    """Both rows of a segment and its publication fit into one change set, and the run starts when it is over."""
    definition, segment = str(uuid.uuid4()), str(uuid.uuid4())
    rows = (
        ("msdynmkt_segmentdefinitions", {"msdynmkt_segmentdefinitionid": definition, "msdynmkt_segmentquery": ""}),
        (
            "msdynmkt_segments",
            {
                "msdynmkt_segmentid": segment,
                "msdynmkt_baseentitylogicalname": "contact",
                "msdynmkt_sourcesegmentuid": definition,
                "statecode": 1,
                "statuscode": 2,
            },
        ),
        ("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment}),
    )
    parts = [operation(f"POST {name}", body, number) for number, (name, body) in enumerate(rows, 1)]
    # Others keep the change set open for a while: whoever looked for work at once would find none.
    others = [create("other", mark, number) for number in range(10, 500)]
    assert send(org, change_set(*parts, *others)).status_code == 200
    assert org.wait(segment) == 1


IDS = [str(uuid.uuid4()) for _ in range(2)]
operations = st.tuples(st.sampled_from(["create", "change", "delete"]), st.sampled_from(IDS), st.integers(0, 9))
units = st.lists(st.one_of(operations, st.lists(operations, min_size=1, max_size=4)), min_size=1, max_size=5)


def written(kind, row_id, number, content_id=None):
    """Write one operation of the model as a part."""
    if kind == "create":
        return operation("POST contacts", {"contactid": row_id, "numberofchildren": number}, content_id)
    if kind == "change":
        return operation(f"PATCH contacts({row_id})", {"numberofchildren": number}, content_id, If_Match="*")
    return operation(f"DELETE contacts({row_id})", None, content_id)


def carried_out(rows, steps):
    """Return the rows after some operations, and the statuses of these; the first failure ends them."""
    rows, statuses = dict(rows), []
    for kind, row_id, number in steps:
        wrong = {"create": 412 if row_id in rows else 0}.get(kind, 0 if row_id in rows else 404)
        statuses.append(wrong or 204)
        if wrong:
            break
        if kind == "delete":
            del rows[row_id]
        else:
            rows[row_id] = number
    return rows, statuses


@MODEL
@given(units=units, go_on=st.booleans())
def test_any_batch_does_what_the_model_says(org, units, go_on):
    """Any batch of requests and change sets leaves the rows and gets the answers that the model predicts."""
    rows, expected, outer = {}, [], 200
    for unit in units:
        after, statuses = carried_out(rows, unit if isinstance(unit, list) else [unit])
        failed = bool(statuses) and statuses[-1] >= 400
        rows = rows if failed else after
        expected.append((statuses[-1:] if failed else statuses) if isinstance(unit, list) else statuses[0])
        if failed and not go_on:
            outer = statuses[-1]
            break
    parts = [
        change_set(*(written(*step, number) for number, step in enumerate(unit, 1)))
        if isinstance(unit, list)
        else written(*unit)
        for unit in units
    ]
    try:
        reply = send(org, *parts, **({"Prefer": "odata.continue-on-error"} if go_on else {}))
        assert reply.status_code == outer
        assert [
            [answer[0] for answer in part] if isinstance(part, list) else part[0] for part in answers(reply)
        ] == expected
        listed = " or ".join(f"contactid eq {row_id}" for row_id in IDS)
        left = org.get(f"contacts?$select=numberofchildren&$filter={listed}")["value"]
        assert {row["contactid"]: row["numberofchildren"] for row in left} == rows
    finally:
        for row_id in IDS:
            org.web.delete(f"contacts({row_id})")


WRITE = operation("POST contacts", {"lastname": "A", "jobtitle": "malformed batch"})
CODES = dict.fromkeys(["get in a change set", "no content id", "content id twice"], "0x80060888")
WELL_FORMED = multipart("batch_1", [WRITE])
MALFORMED = {
    "line ends": WELL_FORMED.replace("\r\n", "\n"),
    "no end": WELL_FORMED.replace("--batch_1--", ""),
    "another boundary": multipart("batch_2", [WRITE]),
    "no part headers": multipart("batch_1", [WRITE, WRITE.replace(BINARY, "")]),
    "no encoding": multipart("batch_1", [WRITE, WRITE.replace("Content-Transfer-Encoding: binary\r\n", "")]),
    "no request line": multipart("batch_1", [WRITE, WRITE.replace(" HTTP/1.1", "")]),
    "nested change set": multipart("batch_1", [WRITE, change_set(change_set(WRITE))]),
    "get in a change set": multipart("batch_1", [WRITE, change_set(operation("GET WhoAmI", None, "1"))]),
    "no content id": multipart("batch_1", [WRITE, change_set(WRITE)]),
    "content id twice": multipart("batch_1", [WRITE, change_set(create("A", "x", 1), create("B", "x", 1))]),
}


def test_two_line_ends_excuse_others(org):
    """Lines that end with LF are read when two of them end the batch, which the document recommends."""
    text = multipart("batch_1", [operation("GET WhoAmI")]).replace("\r\n", "\n")
    assert post(org, text).status_code == 400
    assert [status for status, _, _ in answers(post(org, f"{text}\n"))] == [200]


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_batch_changes_nothing(org, why):
    """A batch that cannot be read is refused as a whole, before its first request."""
    reply = post(org, MALFORMED[why])
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, CODES.get(why, "0x80048d19"))
    assert names(org, "malformed batch") == []


@pytest.mark.parametrize(
    "content_type", ["multipart/mixed", "application/json", "multipart/form-data; boundary=batch_1"]
)
def test_a_batch_says_that_it_is_one(org, content_type):
    """A batch must be posted, with its content type and a boundary."""
    assert post(org, WELL_FORMED, content_type).status_code == 400
    assert names(org, "malformed batch") == []
    assert org.web.get("$batch").status_code == 405


contents = st.lists(
    st.lists(st.sampled_from([b"\r\n", b"--", b"b", b"\n", b"-", b" ", b"{}", b"--bb"])).map(b"".join), max_size=4
)


@given(contents=contents, preamble=st.sampled_from([b"", b"hello\r\n"]), epilogue=st.sampled_from([b"", b"\r\nbye"]))
def test_parts_are_cut_exactly(contents, preamble, epilogue):
    """Parts that do not contain the delimiter come out byte for byte."""
    parts = [part for part in contents if not re.search(rb"\r\n--b(--)?[ \t]*(\r\n|\Z)", b"\r\n" + part + b"\r\n")]
    body = preamble + b"".join(b"--b \r\nA: 1\r\n\r\n" + part + b"\r\n" for part in parts) + b"--b--" + epilogue
    assert batch.cut(body, "multipart/mixed; boundary=b") == [({"a": "1"}, part) for part in parts]


@given(st.lists(st.sampled_from([b"--b", b"--b--", b"\r\n", b"A: 1", b"\n", b"\xff"])).map(b"".join))
def test_no_bytes_break_the_reader(body):
    """Any bytes that are sent as a batch are cut into parts or refused."""
    with contextlib.suppress(ODataError):
        assert all(isinstance(content, bytes) for _, content in batch.cut(body, "multipart/mixed; boundary=b"))
