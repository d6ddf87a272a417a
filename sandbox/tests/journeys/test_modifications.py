"""The changes of ``msdynmkt_jsonpathmodifications``, against plain Python."""

import copy
import json

import pytest
from cij_sandbox.journeys.definition import RefusedError
from cij_sandbox.journeys.modifications import modify
from hypothesis import given
from hypothesis import strategies as st

# The library refuses control characters, which RFC 9535 allows as escapes.
letters = st.characters(exclude_categories=["Cc", "Cs"])
names = st.one_of(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True), st.text(letters, max_size=5))
scalars = st.one_of(st.text(max_size=8), st.integers(-99, 99), st.floats(-9, 9), st.booleans(), st.none())
documents = st.dictionaries(
    names,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=10,
    ),
    min_size=1,
    max_size=4,
)


def places(value, way=()):
    """Return the ways to everything in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*way, name)
        yield from places(child, (*way, name))


def written(way, draw):
    """Write a path in one of the ways there are."""
    path = "$"
    for step in way:
        quote = draw(st.sampled_from("'\""))
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isascii() and step.isidentifier() and draw(st.booleans()):
            path += f".{step}"
        else:
            escaped = json.dumps(step)[1:-1]
            escaped = escaped if quote == '"' else escaped.replace('\\"', '"').replace("'", "\\'")
            path += f"[{quote}{escaped}{quote}]"
    return path


def at(document, way):
    """Follow a path."""
    for step in way:
        document = document[step]
    return document


def put(document, way, value):
    """Return a copy of a document with something else in one place."""
    changed = copy.deepcopy(document)
    at(changed, way[:-1])[way[-1]] = value
    return changed


def like(value):
    """Return a value of the same kind, and the string a request has for it."""
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, int | float):
        other = 4711
    elif isinstance(value, list):
        other = ["a", {"b": None}]
    elif isinstance(value, dict):
        other = {"x": ["ü", 1]}
    else:
        return "['no list', \"just text", "['no list', \"just text"
    return other, json.dumps(other)


@given(st.data())
def test_one_place_changes_and_nothing_else(data):
    """Any element is replaced by a value of its kind, however its path is written, and no other changes."""
    document = data.draw(documents)
    way = data.draw(st.sampled_from(list(places(document))))
    value, text = like(at(document, way))
    path = written(way, data.draw)
    expected = put(document, way, value)
    modify(document, json.dumps({path: text}))
    assert document == expected


@given(st.data())
def test_a_value_of_another_kind_is_refused(data):
    """Text in the place of a list, object, number or boolean, or one of these in that of another, changes nothing."""
    document = data.draw(documents)
    kept = [way for way in places(document) if not isinstance(at(document, way), str | None)]
    if not kept:
        return
    way = data.draw(st.sampled_from(kept))
    current = at(document, way)
    others = {list: "[]", dict: "{}", bool: "true", float: "1.5", str: "text"}
    others.pop(float if type(current) is int else type(current))
    before = copy.deepcopy(document)
    with pytest.raises(RefusedError) as refused:
        modify(document, json.dumps({written(way, data.draw): data.draw(st.sampled_from(sorted(others.values())))}))
    assert [problem.code for problem in refused.value.problems] == ["InvalidJsonAfterModificationApplied"]
    assert document == before


@given(documents, st.text() | st.from_regex(r"\$([.\[\]'\"\\a0*?@-]|\.\.){0,8}", fullmatch=True))
def test_any_path_leads_somewhere_or_is_refused(document, path):
    """Any path changes existing elements or is refused."""
    before = list(places(document))
    try:
        modify(document, json.dumps({path: "text"}))
    except RefusedError as refused:
        (problem,) = refused.problems
        assert problem.code in ("InvalidJsonPath", "InvalidJsonAfterModificationApplied")
    else:
        after = list(places(document))
        assert set(after) <= set(before)
        assert "text" in [at(document, way) for way in after]


@pytest.mark.parametrize(
    "path", ["", "a", "$", "$.", "$.a[01]", "$.a['b", "$a", "$.b", "$.a[9]", "$.a | $.c", "$" + "[?" * 999]
)
def test_paths_to_nothing(path):
    """What is no JSONPath, finds nothing, or names the whole document is an InvalidJsonPath."""
    with pytest.raises(RefusedError) as refused:
        modify({"a": ["x"], "c": "y"}, json.dumps({path: "z"}))
    assert [problem.code for problem in refused.value.problems] == ["InvalidJsonPath"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.a[*].b", {"a": [{"b": "z"}, {"b": "z"}], "c": "y"}),
        ("$..b", {"a": [{"b": "z"}, {"b": "z"}], "c": "y"}),
        ("$.a[-1].b", {"a": [{"b": "x"}, {"b": "z"}], "c": "y"}),
        ("$.a[?@.b == 'x'].b", {"a": [{"b": "z"}, {"b": "z"}], "c": "y"}),
        ("$['c']", {"a": [{"b": "x"}, {"b": "x"}], "c": "z"}),
    ],
)
def test_a_path_may_find_several_elements(path, expected):
    """All elements that a path finds are replaced."""
    document = {"a": [{"b": "x"}, {"b": "x"}], "c": "y"}
    modify(document, json.dumps({path: "z"}))
    assert document == expected


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", '"$.a"', '{"$.a": ["b"]}', '{"$.a": {}}', '{"$.a": null}', "[" * 9999, '{"$.a": NaN}'],
)
def test_what_is_no_dictionary_of_strings(text):
    """Anything but a JSON object of scalars cannot be parsed."""
    with pytest.raises(RefusedError) as refused:
        modify({"a": "b"}, text)
    assert [problem.code for problem in refused.value.problems] == ["InvalidJsonPathModifications"]


def test_values_as_the_document_has_them():
    """Values may be lists in single quotes, numbers and booleans as such or as strings, and replace null."""
    document = {"segments": [], "count": 1, "on": False, "value": None, "note": None}
    changes = {"$.segments": "['a','b']", "$.count": "2", "$.on": True, "$.value": '{"id":"c"}', "$.note": "it's"}
    modify(document, json.dumps(changes))
    assert document == {"segments": ["a", "b"], "count": 2, "on": True, "value": {"id": "c"}, "note": "it's"}


def test_all_problems_are_told_at_once():
    """Each modification that is impossible is one error."""
    with pytest.raises(RefusedError) as refused:
        modify({"a": []}, json.dumps({"$.b": "c", "$.a": "d", "$.a[0]": "e"}))
    codes = [problem.code for problem in refused.value.problems]
    assert codes == ["InvalidJsonPath", "InvalidJsonAfterModificationApplied", "InvalidJsonPath"]
