"""The decision whether a message may go: against the documented table, and against a second implementation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.consent.consent_to import COMMERCIAL, ConsentTo
from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue, Decision, Outcome, Profile, Rule, decide
from airflow_provider_cij.errors import CijInputError

NOT_SET, IN, OUT = (ConsentValue(534120000 + number) for number in range(3))
RESTRICTIVE, NON_RESTRICTIVE, DISABLED = 534120000, 534120001, 534120002
START = datetime(2026, 11, 1, tzinfo=UTC)
SENT, BLOCKED, UNKNOWN = Outcome.WILL_SEND, Outcome.WILL_NOT_SEND, Outcome.UNKNOWN

TABLE = {
    RESTRICTIVE: {OUT: BLOCKED, NOT_SET: BLOCKED, IN: SENT},
    NON_RESTRICTIVE: {OUT: BLOCKED, NOT_SET: SENT, IN: SENT},
    DISABLED: {OUT: SENT, NOT_SET: SENT, IN: SENT},
}
"""The documented tables of enforcement models."""


@pytest.mark.parametrize("model", TABLE)
@pytest.mark.parametrize("value", [OUT, NOT_SET, IN])
def test_the_decision_follows_the_documented_table(model, value):
    """A purpose's model and the value of the only row decide as the documented table says."""
    rule = Rule(model, "unit")
    assert decide([ConsentRow(value, START, "unit")], rule).outcome is TABLE[model][value]
    if value == NOT_SET:
        assert decide([], rule).outcome is TABLE[model][value]


@pytest.mark.parametrize("model", TABLE)
@pytest.mark.parametrize("purpose", [OUT, NOT_SET, IN])
@pytest.mark.parametrize("topic", [OUT, NOT_SET, IN])
def test_a_topic_needs_its_purpose(model, purpose, topic):
    """A message about a topic is sent when the table lets both the purpose and the topic pass."""
    rows = [ConsentRow(purpose, START, "unit"), ConsentRow(topic, START + timedelta(1), "unit", "topic")]
    both = {TABLE[model][purpose], TABLE[model][topic]}
    assert decide(rows, Rule(model, "unit", "topic")).outcome is (BLOCKED if BLOCKED in both else SENT)


UNITS = ("a", "b", "c", "d")
ROWS = st.lists(
    st.builds(
        ConsentRow,
        st.sampled_from([NOT_SET, IN, OUT, None, 7]),
        st.integers(0, 3).map(lambda days: START + timedelta(days)),
        st.sampled_from(UNITS),
        st.sampled_from(["", "topic", "other"]),
    ),
    max_size=7,
)
PROFILES = st.lists(st.builds(Profile, st.sampled_from(UNITS), st.sampled_from([False, False, True])), max_size=2)
RULES = st.builds(
    Rule,
    st.sampled_from([*TABLE, None, 9]),
    st.sampled_from(UNITS),
    st.sampled_from(["", "topic"]),
    PROFILES,
    st.sampled_from([True, False, None]),
)


def naive(rows: list[ConsentRow], rule: Rule) -> Outcome:
    """Decide step by step as the documents tell it, one possible world after the other."""
    outcomes = set()
    for profile in list(rule.profiles) or [Profile("")]:
        for scoped in [True, False]:
            if rule.scoped is not None and scoped != rule.scoped:
                continue
            outcomes.add(naive_world(rows, rule, profile, scoped))
    return outcomes.pop() if len(outcomes) == 1 else UNKNOWN


def naive_world(rows, rule, profile, scoped) -> Outcome:
    """Decide where profile and scoping are known."""
    if profile.has_provider:
        return UNKNOWN
    if rule.enforcement == DISABLED:
        return SENT
    said = [naive_value([row for row in rows if row.topic_id == ""], rule, profile, scoped)]
    if rule.topic_id:
        said.append(naive_value([row for row in rows if row.topic_id == rule.topic_id], rule, profile, scoped))
    if said == [IN] or said == [IN, IN]:
        return SENT
    if rule.enforcement not in (RESTRICTIVE, NON_RESTRICTIVE):
        return UNKNOWN
    if OUT in said:
        return BLOCKED
    if 7 in said:
        return UNKNOWN
    return TABLE[rule.enforcement][NOT_SET]


def naive_value(rows, rule, profile, scoped) -> int:
    """Return what the row says that counts."""
    for unit in (rule.business_unit_id, profile.business_unit_id, "any"):
        if unit == "any" and scoped:
            break
        there = [row for row in rows if unit in ("any", row.business_unit_id)]
        if there:
            there.sort(key=lambda row: row.modified_on)
            values = {row.value or NOT_SET for row in there if row.modified_on == there[-1].modified_on}
            return next(value for value in (OUT, 7, NOT_SET, IN) if value in values)
    return NOT_SET


@given(ROWS, RULES)
def test_the_decision_equals_a_second_implementation(rows, rule):
    """For any rows, business units, profiles and settings, the decision is that of a naive implementation."""
    assert decide(rows, rule).outcome is naive(rows, rule)


@given(ROWS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, rule, chance):
    """The service gives rows in any order, and the decision is the same."""
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert decide(shuffled, rule) == decide(rows, rule)


@given(ROWS, RULES)
def test_nobody_stays_whose_newest_rows_say_no(rows, rule):
    """With ``sendable``, an address stays only if the service sends and no possible world reads its row as a no."""
    decision = decide(rows, rule)
    worlds = [Rule(rule.enforcement, rule.business_unit_id, rule.topic_id, [profile], scoped)
              for profile in rule.profiles or [Profile()]
              for scoped in ([True, False] if rule.scoped is None else [rule.scoped])]  # fmt: skip
    said = {decide(rows, world).value for world in worlds}
    if decision.left_out("sendable") == "":
        assert decision.outcome is SENT
        assert OUT not in said
    if decision.left_out("not_opted_out") == "":
        assert OUT not in said
    assert (decision.left_out("as_service") == "") is (decision.outcome is SENT)


@pytest.mark.parametrize(
    ("decision", "reasons"),
    [
        (Decision(SENT, "", OUT), ("opted_out", "opted_out", "")),
        (Decision(SENT, "", NOT_SET), ("", "", "")),
        (Decision(SENT, "", None), ("unknown", "unknown", "")),
        (Decision(BLOCKED, "", OUT), ("opted_out", "opted_out", "opted_out")),
        (Decision(BLOCKED, "", NOT_SET), ("not_set", "", "not_set")),
        (Decision(BLOCKED, "", IN), ("unknown", "", "unknown")),
        (Decision(UNKNOWN, "", OUT), ("opted_out", "opted_out", "unknown")),
        (Decision(UNKNOWN, "", IN), ("unknown", "", "unknown")),
        (Decision(UNKNOWN, "", None), ("unknown", "unknown", "unknown")),
    ],
)
def test_reasons_for_leaving_out(decision, reasons):
    """Each requirement leaves out whom it must, under the reason that is counted."""
    assert tuple(map(decision.left_out, ("sendable", "not_opted_out", "as_service"))) == reasons


def test_former_names_of_arguments():
    """``purpose_id`` and ``topic_id`` are other names of ``purpose`` and ``topic``."""
    assert ConsentTo(purpose_id="p", topic_id="t") == ConsentTo("p", "t")
    assert ConsentTo() == ConsentTo(COMMERCIAL, topic_id="")
    assert len({ConsentTo("p"), ConsentTo(purpose_id="p"), ConsentTo()}) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"channel": "fax"},
        {"require": "sometimes"},
        {"purpose": " "},
        {"purpose": None},
        {"topic": 5},
        {"compliance_profile": ""},
        {"recipient_column": b"x"},
    ],
)
def test_bad_arguments_are_refused_where_the_dag_is_written(arguments):
    """An argument that no organisation could take is refused when the DAG file is parsed; a template is not."""
    with pytest.raises(CijInputError, match=next(iter(arguments))):
        ConsentTo(**arguments)
    ConsentTo(**dict.fromkeys(arguments, "{{ params.x }}"))
