"""The decision which request a fault rule strikes, without a server."""

import json
import re
import time

import pytest
from cij_sandbox.faults.rules import Faults, read
from hypothesis import given
from hypothesis import strategies as st

PATHS = ("/api/data/v9.2/contacts", "/api/data/v9.2/msdynmkt_AddStaticMembers", "/x/oauth2/v2.0/token")
requests = st.lists(st.tuples(st.sampled_from(["GET", "POST"]), st.sampled_from(PATHS)), max_size=60)
rules = st.fixed_dictionaries(
    {"fault": st.sampled_from(["429", "reset", "lost"])},
    optional={
        "path": st.sampled_from(["contacts", "Members$", "token", "data", "."]),
        "method": st.sampled_from(["GET", "POST"]),
        "count": st.integers(1, 5),
        "after": st.integers(0, 5),
    },
)


def struck(rules, asked, seed=1):
    """Return the fault of each request."""
    faults = Faults(seed)
    faults.add(read(rules))
    hits = [faults.match(*request) for request in asked]
    return [hit and hit.fault for hit in hits], [rule["struck"] for rule in faults.shown()]


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 60))
def test_counts_are_exact(after, count, asked):
    """A rule strikes exactly ``count`` requests, those right behind the first ``after``."""
    hits, _ = struck({"fault": "lost", "after": after, "count": count}, [("GET", PATHS[0])] * asked)
    assert hits == [("lost" if after <= place < after + count else None) for place in range(asked)]


@given(st.lists(rules, max_size=4), requests)
def test_the_first_rule_that_strikes_wins(rules, asked):
    """Several rules decide in order, each with its own numbers, as a simple model does."""
    expected, seen, strikes = [], [0] * len(rules), [0] * len(rules)
    for method, path in asked:
        hit = None
        for place, rule in enumerate(rules):
            part = rule.get("path", "/api/data/")
            right_path = path.endswith(part[:-1]) if part.endswith("$") else part == "." or part in path
            if hit or not right_path or rule.get("method", method) != method:
                continue
            seen[place] += 1
            if seen[place] > rule.get("after", 0) and strikes[place] < rule.get("count", 99):
                strikes[place] += 1
                hit = rule["fault"]
        expected.append(hit)
    assert struck(rules, asked) == (expected, strikes)


@given(st.integers(), st.floats(0, 1), st.one_of(st.none(), st.integers(0, 2**63)), requests)
def test_the_same_seed_makes_the_same_sequence(seed, probability, own_seed, asked):
    """Decisions depend only on the seed and the number of matching requests before."""
    own = {} if own_seed is None else {"seed": own_seed}
    rules = [{"fault": "reset", "path": "contacts", "probability": probability, **own}]
    hits, _ = struck(rules, asked, seed)
    matching = [hit for request, hit in zip(asked, hits, strict=True) if "contacts" in request[1]]
    assert struck(rules, asked, seed)[0] == hits
    assert struck(rules, [("GET", PATHS[0])] * len(matching), seed)[0] == matching
    assert all(hit is None for request, hit in zip(asked, hits, strict=True) if "contacts" not in request[1])


def test_probability_and_seed_make_a_difference():
    """A probability strikes about its share, another seed strikes other requests, and equal rules draw separately."""
    asked = [("GET", PATHS[0])] * 2000
    rule = {"fault": "reset", "probability": 0.3}
    one, (strikes,) = struck(rule, asked, 1)
    assert 500 < strikes < 700
    assert struck(rule, asked, 2)[0] != one
    assert struck({**rule, "seed": 2}, asked, 1)[0] == struck({**rule, "seed": 2}, asked, 9)[0] != one
    _, (first, second) = struck([rule, rule], asked)
    assert 350 < second < 500 < first


def test_after_a_clear_the_sequence_begins_anew():
    """Rules added after a clear draw as the first ones did."""
    faults = Faults()
    runs = []
    for _ in range(2):
        faults.add(read({"fault": "reset", "probability": 0.5}))
        runs.append([faults.match("GET", PATHS[0]) is None for _ in range(50)])
        faults.clear()
        assert faults.match("GET", PATHS[0]) is None
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 2


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("429", 'whose "fault" is one of 400, 401, 429'),
        ({}, 'whose "fault" is one of'),
        ({"fault": "418"}, "one of 400, .*418"),
        ({"fault": ["429"]}, "one of 400"),
        ({"fault": "429", "delay": 1}, 'takes no "delay"; it takes after, code, count'),
        ({"fault": "reset", "code": "0x80072322"}, 'takes no "code"'),
        ({"fault": "429", "code": "0x0"}, '"code" of the fault 429 is one of 0x80072322, .*"0x0"'),
        ({"fault": "429", "retry_after": -1}, "a whole number from 0 to 86,400, not -1"),
        ({"fault": "429", "retry_after": True}, "not true"),
        ({"fault": "429", "retry_after": 1, "retry_after_date": 1}, "not both"),
        ({"fault": "429", "count": 0}, "from 1"),
        ({"fault": "429", "count": 1.5}, "a whole number"),
        ({"fault": "429", "probability": 1.01}, "from 0 to 1"),
        ({"fault": "429", "probability": float("nan")}, "from 0 to 1"),
        ({"fault": "429", "path": "(a+)+$"}, "a part of the path"),
        ({"fault": "429", "path": "a{99999999999999999999}"}, "a part of the path"),
        ({"fault": "429", "path": r"contacts\b"}, "a part of the path"),
        ({"fault": "429", "path": "contacts|leads"}, "a part of the path"),
        ({"fault": "429", "path": "a" * 1001}, "of up to 1,000 characters"),
        ({"fault": "429", "path": "\ud800"}, "a part of the path"),
        ({"fault": "429", "method": "post"}, "one of GET, POST"),
        ({"fault": "503", "processed": 1}, "true or false"),
        ({"fault": "503", "body": "xml"}, "html, json"),
        ({"fault": "slow"}, 'wants a "delay"'),
        ([{"fault": "429"}, {"fault": "lost", "close": "abruptly"}], "rst, eof"),
    ],
)
def test_wrong_rules_are_refused_with_the_reason(rule, words):
    """A rule with anything unknown in it is refused, and the message says what is expected."""
    with pytest.raises(ValueError, match=words):
        read(rule)


@pytest.mark.parametrize(
    ("path", "hits"),
    [
        ("Members$", [1]),
        ("^/api/data/", [0, 1]),
        ("^/api/*/contacts$", [0]),
        ("^/api/data/v9.2/contacts$", [0]),
        ("^contacts$", []),
        ("/api/*Static*$", [1]),
        ("msdynmkt_.*Members", [1]),
        (r"v9\.2", [0, 1]),
        ("*", [0, 1, 2]),
        ("", [0, 1, 2]),
        ("^$", []),
        ("contacts*contacts", []),
        ("^/api*api", []),
    ],
)
def test_a_path_is_a_part_with_stars_and_ends(path, hits):
    """In a path only stars, anchors and backslashes have a meaning."""
    (rule,) = read({"fault": "429", "path": path})
    assert [place for place, one in enumerate(PATHS) if rule.matches("GET", one)] == hits


TEXTS = st.text("ab/", max_size=6)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from(["", "^"]), st.sampled_from(["", "$"]), TEXTS)
def test_paths_fit_as_the_regular_expression_would_say(pieces, begin, end, path):
    """A path matches as the regular expression does in which each star is ``.*``."""
    (rule,) = read({"fault": "429", "path": begin + "*".join(pieces) + end})
    slow = re.compile(begin + ".*".join(map(re.escape, pieces)) + (r"\Z" if end else ""))
    assert rule.matches("GET", path) == bool(slow.search(path))


@pytest.mark.parametrize("path", ["*a" * 400 + "$", "^" + "*a" * 400 + "b", "(a*)*" * 150 + "b", "a.*" * 300 + "b$"])
def test_no_path_can_hang_the_sandbox(path):
    """Patterns that take a regular expression years are decided at once, on the longest of requests."""
    (rule,) = read({"fault": "429", "path": path})
    begun = time.process_time()
    assert not rule.matches("GET", "/api/data/" + "a" * 50_000 + "c")
    assert time.process_time() - begun < 1


keys = st.sampled_from(["fault", "path", "method", "count", "probability", "code", "retry_after", "delay", "x"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["429", "slow", "GET", "(?"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
)


@given(anything)
def test_whatever_comes_is_a_rule_or_a_clear_refusal(content):
    """Any JSON is a rule that can be shown again, or is refused with a reason."""
    try:
        faults = read(content)
    except ValueError:
        return
    held = Faults()
    held.add(faults)
    json.dumps(held.shown(), allow_nan=False, ensure_ascii=False).encode()
    for path in PATHS:
        held.match("GET", path)
