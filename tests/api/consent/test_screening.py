"""Deciding about many people: against the sandbox's own decisions, by the service and by its tables."""

from __future__ import annotations

import asyncio
import random
import uuid

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.consent.asking import discover
from airflow_provider_cij.api.consent.consent_to import COMMERCIAL, ConsentTo
from airflow_provider_cij.api.consent.rules import Outcome
from airflow_provider_cij.api.consent.screening import Decider, screen
from airflow_provider_cij.api.consent.target import recipient_column, resolve
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijError, CijForbiddenError, CijInputError, CijRefusedError
from airflow_provider_cij.hooks.cij import CijHook
from tests.api.consent.organisation import (
    CONSENTS,
    DISABLED,
    IN,
    NON_RESTRICTIVE,
    NOT_SET,
    OUT,
    RESTRICTIVE,
    addresses,
    consent,
    consents,
    create,
    create_many,
    move,
    profile,
    purpose,
    topic,
)
from tests.member_ids import id_set
from tests.scripted import Answer


@pytest.fixture(scope="module")
def asked():
    """Run a sandbox in which consent can be asked for."""
    with running_sandbox("--with-check-consent", "--contacts", "20") as running:
        yield running


@pytest.fixture
def by_service(asked, monkeypatch):
    """Return a function that runs coroutine functions on the sandbox with ``msdynmkt_checkconsent``."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", asked.airflow_conn_uri)
    return CijHook().run


async def random_consents(cij, sandbox, chance, people, about, units) -> None:
    """Write consents in several rounds, so that they are modified at different seconds."""
    for _ in range(3):
        rows = [
            consent(chance.choice([str.upper, str.lower])(person), chance.choice([IN, OUT, NOT_SET]), *key)
            for person in people
            for key in about
            if chance.random() < 0.5
        ]
        made = await consents(cij, rows)
        for row_id in made:
            if chance.random() < 0.4:
                await move(cij, CONSENTS, row_id, chance.choice(units))
        sandbox._remote.call("POST", "clock", {"advance_seconds": 3})


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_lead_to_the_decisions_of_the_service(by_service, asked, seed):
    """For random consents, models and business units, the decision by tables is that of the sandbox, every one."""
    chance = random.Random(seed)  # noqa: S311
    people = addresses(25)

    async def work(cij):
        units = [await create(cij, "businessunits", name=f"unit {uuid.uuid4()}") for _ in range(3)]
        compared = 0
        for model in (RESTRICTIVE, NON_RESTRICTIVE, DISABLED):
            purpose_id = await purpose(cij, model)
            profile_id, topic_id = await profile(cij, purpose_id), await topic(cij, purpose_id)
            await move(cij, "msdynmkt_purposes", purpose_id, units[0])
            await move(cij, "msdynmkt_compliancesettings4s", profile_id, units[1])
            await random_consents(cij, asked, chance, people, [(purpose_id, ""), (purpose_id, topic_id)], units)
            for about in (None, topic_id):
                to = ConsentTo(purpose_id, about, require="as_service", business_unit_scoping=False)
                target = await resolve(cij.dataverse, to)
                check, _ = await discover(cij.dataverse, target)
                told = await check.ask([person.lower() for person in people])
                decided = await Decider(cij.dataverse, target, to, None).decisions(told)
                assert {key: one.outcome is Outcome.WILL_SEND for key, one in decided.items()} == told
                assert Outcome.UNKNOWN not in {one.outcome for one in decided.values()}
                compared += len(told)
        return compared

    assert by_service(work) == 3 * 2 * 25


EXPECTED = {
    ("sendable", RESTRICTIVE): {"out": "opted_out", "none": "not_set", "nowhere": "no_address", "gone": "unknown"},
    ("sendable", NON_RESTRICTIVE): {"out": "opted_out", "nowhere": "no_address", "gone": "unknown"},
    ("sendable", DISABLED): {"out": "opted_out", "nowhere": "no_address", "gone": "unknown"},
    ("not_opted_out", RESTRICTIVE): {"out": "opted_out", "gone": "unknown"},
    ("as_service", RESTRICTIVE): {"out": "opted_out", "none": "not_set", "nowhere": "no_address", "gone": "unknown"},
    ("as_service", DISABLED): {"nowhere": "no_address", "gone": "unknown"},
}


@pytest.mark.parametrize(("require", "model"), EXPECTED)
@pytest.mark.parametrize("service", [True, False])
def test_people_are_left_out_for_a_reason(organisation, by_service, cij_sandbox, monkeypatch, require, model, service):
    """Each requirement leaves out whom it must, under the right reason, whether or not the service can be asked."""
    if not service:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    in_, out, none, shared = addresses(4)

    async def work(cij):
        purpose_id = await purpose(cij, model)
        points = {"in": in_, "out": out, "none": none, "nowhere": None, "first": shared, "second": shared.upper()}
        rows = [{"lastname": "x", "emailaddress1": point} for point in points.values()]
        ids = dict(zip(points, await create_many(cij, "contacts", "contact", rows), strict=True))
        ids["gone"] = str(uuid.uuid4())
        await consents(cij, [consent(point, IN, purpose_id) for point in (in_, shared)])
        await consents(cij, [consent(out, OUT, purpose_id)])
        told: list[tuple[str, str]] = []
        to = ConsentTo(purpose_id, require=require)
        found = await screen(cij.dataverse, id_set(ids.values()), "contact", to, told.extend)
        reasons = {name: reason for name, row_id in ids.items() for key, reason in told if key == row_id}
        assert {row_id for batch in found.left_out.batches(100) for row_id in batch} == {key for key, _ in told}
        assert found.counts == {
            reason: list(reasons.values()).count(reason) for reason in ("opted_out", "not_set", "unknown", "no_address")
        }
        return reasons

    assert CijHook().run(work) == EXPECTED[require, model]


SPELLED = [
    (" {}", " {}"),
    ("{} ", "{} "),
    ("\u200b{}", "\u200b{}"),
    ("\ufeff{}\u200e", "\ufeff{}\u200e"),
    (" {}", "{}"),
    ("stra\u00dfe{}", "strasse{}"),
    ("jose\u0301{}", "jos\u00e9{}"),
    ("jos\u00e9{}", "jose\u0301{}"),
]


@pytest.mark.parametrize(("person", "refused"), SPELLED)
@pytest.mark.parametrize("require", ["sendable", "not_opted_out"])
def test_a_no_counts_in_every_spelling_that_the_service_takes_for_the_same(organisation, person, refused, require):
    """A "no" leaves people out with the same blanks around it, trimmed, or with letters that the service equates."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        await consents(cij, [consent(refused.format(address), OUT, purpose_id)])
        row = {"lastname": "x", "emailaddress1": person.format(address)}
        people = await create_many(cij, "contacts", "contact", [row])
        to = ConsentTo(purpose_id, require=require)
        return (await screen(cij.dataverse, id_set(people), "contact", to)).counts["opted_out"]

    assert organisation(work) == 1


def test_what_is_unknown_is_not_yes(organisation):
    """An external provider, profiles that differ, a unit that may not count, and an unknown model leave people out."""
    yes, elsewhere = addresses(2)

    async def work(cij):
        unit = await create(cij, "businessunits", name="elsewhere")
        provider = await create(cij, "msdynmkt_consentproviders", msdynmkt_name="external")
        with_provider, scattered = await purpose(cij), await purpose(cij, RESTRICTIVE)
        bound = {"msdynmkt_ConsentProviderId@odata.bind": f"/msdynmkt_consentproviders({provider})"}
        asked_only = await profile(cij, with_provider, **bound)
        plain = await profile(cij, with_provider)
        rows = [consent(yes, IN, with_provider), consent(elsewhere, IN, scattered)]
        await move(cij, CONSENTS, (await consents(cij, rows))[1], unit)

        async def decide(address, to):
            return (await (await Decider.of(cij.dataverse, to)).decisions([address.lower()]))[address.lower()].outcome

        return [
            await decide(yes, ConsentTo(with_provider)),
            await decide(yes, ConsentTo(with_provider, compliance_profile=asked_only)),
            await decide(yes, ConsentTo(with_provider, compliance_profile=plain)),
            await decide(elsewhere, ConsentTo(scattered)),
            await decide(elsewhere, ConsentTo(scattered, business_unit_scoping=False)),
            await decide(elsewhere, ConsentTo(scattered, business_unit_scoping=True)),
        ]

    sent, blocked, unknown = Outcome.WILL_SEND, Outcome.WILL_NOT_SEND, Outcome.UNKNOWN
    assert organisation(work) == [unknown, unknown, sent, unknown, sent, blocked]


def test_names_stand_for_ids(organisation):
    """Purpose, topic and profile are found by name or id; unknown, ambiguous and foreign ones are refused."""

    async def work(cij):
        name = f"Twice {uuid.uuid4()}"
        for _ in range(2):
            await create(cij, "msdynmkt_compliancesettings4s", msdynmkt_name=name)
        target = await resolve(cij.dataverse, ConsentTo("Commercial", "Newsletter", compliance_profile="Default"))
        assert target == await resolve(cij.dataverse, ConsentTo(topic_id=target.topic_id))
        assert (target.purpose_id, len(target.profile_ids)) == (COMMERCIAL, 1)
        for wrong, words in (
            (ConsentTo("Nothing"), "no purpose named 'Nothing'"),
            (ConsentTo(str(uuid.uuid4())), "There is no purpose"),
            (ConsentTo("Tracking", "Newsletter"), "no topic named"),
            (ConsentTo("Tracking", target.topic_id), f"not of purpose .* but of {COMMERCIAL}"),
            (ConsentTo(compliance_profile=name), "2 rows are named"),
        ):
            with pytest.raises(CijInputError, match=words):
                await resolve(cij.dataverse, wrong)

    organisation(work)


@pytest.mark.parametrize(
    ("setting", "column"),
    [
        (None, "emailaddress1"),
        ("", "emailaddress1"),
        ("emailaddress2", "emailaddress2"),
        (' ["emailaddress2"] ', "emailaddress2"),
        ("emailaddress1,emailaddress2", None),
        ('{"main": "emailaddress1"}', None),
    ],
)
def test_the_column_of_the_address_is_configured(scripted, setting, column):
    """The audience configuration names the column; where it names several, or is unreadable, the caller must."""
    rows = [] if setting is None else [{"msdynmkt_emailaddressfields": setting}]
    scripted.script = [Answer(body={"value": rows})]

    async def work(to):
        async with DataverseClient(scripted.settings()) as client:
            return await recipient_column(client, to, "contact")

    assert asyncio.run(work(ConsentTo(recipient_column="emailaddress3"))) == "emailaddress3"
    if column:
        assert asyncio.run(work(ConsentTo())) == column
    else:
        with pytest.raises(CijInputError, match="recipient_column"):
            asyncio.run(work(ConsentTo()))
    with pytest.raises(CijInputError, match="recipient_column"):
        asyncio.run(work(ConsentTo(recipient_column="a b")))


MISSING = Answer(404, {"error": {"code": "0x8006088a", "message": "Resource not found for the segment 'x'."}})
REFUSED = Answer(400, {"error": {"code": "0x80040203", "message": "Not now."}})


def test_settings_that_are_refused_are_not_taken_for_none(scripted):
    """A refused read of the settings is an error that says what to give; a missing table has no settings."""

    async def work():
        async with DataverseClient(scripted.settings()) as client:
            return await recipient_column(client, ConsentTo(), "contact")

    scripted.script = [REFUSED]
    with pytest.raises(CijRefusedError, match="recipient_column"):
        asyncio.run(work())
    scripted.script = [MISSING]
    assert asyncio.run(work()) == "emailaddress1"


def test_profiles_that_are_refused_are_not_taken_for_none(scripted):
    """A refused read of the profiles is an error that says what to give; a table that does not exist has none."""

    async def work():
        async with DataverseClient(scripted.settings()) as client:
            return (await resolve(client, ConsentTo())).profile_ids

    (purpose_row, pair, *_) = start()
    for refused in ([purpose_row, REFUSED], [purpose_row, pair, REFUSED]):
        scripted.script = refused
        with pytest.raises(CijRefusedError, match="compliance_profile"):
            asyncio.run(work())
    scripted.script = [purpose_row, MISSING]
    assert asyncio.run(work()) == ()


def parameters(**changes):
    """Return the action's inputs as a live organisation might list them."""
    known = {"contactpoints": 11, "channeltype": 10, "purpose": 5, "topic": 5, "complianceprofile": 5} | changes
    rows = [{"uniquename": name, "type": kind, "isoptional": name == "topic"} for name, kind in known.items() if kind]
    return Answer(body={"value": [{"CustomAPIRequestParameters": rows}]})


def start(found=True, **changes):
    """Return the responses up to the discovery of the action."""
    purpose_row = {"msdynmkt_purposeid": COMMERCIAL, "msdynmkt_enforcementmodel": RESTRICTIVE}
    profile_row = {"msdynmkt_compliancesettings4id": str(uuid.UUID(int=5))}
    pair = {"value": [profile_row]}
    return [Answer(body=purpose_row), Answer(body=pair), Answer(body=pair), parameters(**changes)]


def rows_of(*values):
    """Return a response with a row of consent for each value, of the addresses a, b, c, …."""
    return Answer(
        body={
            "value": [
                {
                    "msdynmkt_contactpointvalue": f"{name}@x",
                    "msdynmkt_value": value,
                    "msdynmkt_contactpointconsenttype": 534120000,
                    "modifiedon": "2026-11-01T00:00:00Z",
                }
                for name, value in zip("abcde", values, strict=False)
            ]
        }
    )


def decide(scripted, *answers, to=ConsentTo(), addresses=("a@x", "b@x", "c@x")):  # noqa: B008
    """Decide about addresses on the scripted server; return left-out reasons and the last request."""
    scripted.script = list(answers)

    async def work():
        async with DataverseClient(scripted.settings()) as client:
            decisions = await (await Decider.of(client, to)).decisions(addresses)
            return [decisions[address].left_out(to.require) for address in addresses]

    return asyncio.run(work())


def test_an_address_without_an_answer_is_unknown(scripted):
    """The service's answer counts; one that is missing, contradicts itself, or is no yes or no is no yes."""
    told = [("a@x", True), ("B@X", "yes"), ("c@x", True), ("c@x", False)]
    reply = {"consents": [{"contactpoint": point, "consentformessage": answer} for point, answer in told]}
    answers = [*start(), rows_of(IN, IN, IN, IN), Answer(body=reply)]
    assert decide(scripted, *answers, addresses=("a@x", "b@x", "c@x", "d@x")) == ["", *["unknown"] * 3]


@pytest.mark.parametrize(("value", "reason"), [(OUT, "opted_out"), (IN, "not_set")])
def test_an_accent_that_the_service_ignores(scripted, value, reason):
    """Where the service answers with a row that differs in an accent, its "no" counts and its yes does not."""
    answer = rows_of(value)
    answer.body["value"][0]["msdynmkt_contactpointvalue"] = "\u00e1@x"
    assert decide(scripted, *start(contactpoints=None), answer, addresses=("a@x",)) == [reason]


def test_whom_a_no_leaves_out_is_not_asked_about(scripted):
    """Many addresses go into one call, without those whose own no leaves them out whatever the service says."""
    reply = {"consents": [{"contactpoint": f"{name}@x", "consentformessage": True} for name in "abc"]}
    assert decide(scripted, *start(), rows_of(OUT, IN), Answer(body=reply)) == ["opted_out", "", ""]
    assert b'"contactpoints": ["b@x", "c@x"]' in scripted.requests[-1].body


@pytest.mark.parametrize(
    "changes",
    [
        {"contactpoints": 10},
        {"contactpoints": None},
        {"purpose": 4},
        {"channeltype": 7},
        {"complianceprofile": None},
        {"new_input": 10},
    ],
)
def test_an_unknown_signature_leaves_the_decision_to_the_tables(scripted, caplog_all, changes):
    """An action whose inputs are not understood is never called, and the log says that the tables decided, and why."""
    answers = [*start(**changes), rows_of(IN, OUT)]
    assert decide(scripted, *answers) == ["", "opted_out", "not_set"]
    assert "is decided by the consent tables: " in caplog_all.text
    assert scripted.requests[-1].method == "GET"


def test_a_refusal_leaves_the_decision_to_the_tables(scripted, caplog_all):
    """An action that is refused when it is called is not called again; the log says that the tables decide."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "not for a@x"}})
    assert decide(scripted, *start(), rows_of(IN, OUT), no) == ["", "opted_out", "not_set"]
    assert "the consent tables decide from here on" in caplog_all.text
    assert "a@x" not in caplog_all.text.replace("@x'", "")


def test_errors_hold_no_address(scripted):
    """Words of the service that repeat an address are withheld; a missing privilege is named."""
    no = Answer(400, {"error": {"code": "0x80048d19", "message": "Can't take a@x."}})
    with pytest.raises(CijError, match="withheld") as error:
        decide(scripted, *start(), no)
    assert (error.value.code, error.value.__cause__, error.value.__context__) == ("0x80048d19", None, None)
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_contactpointconsent4"}})
    with pytest.raises(CijForbiddenError, match="prvReadmsdynmkt_contactpointconsent4"):
        decide(scripted, *start(), no)
