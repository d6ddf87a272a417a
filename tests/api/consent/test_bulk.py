"""Importing consent against the sandbox: no later "no" is lost, whatever happened before."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from airflow.sdk import Connection
from cij_sandbox.testing import running_sandbox
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.api.consent.bulk import ConsentImport
from airflow_provider_cij.api.consent.consent_to import ConsentTo
from airflow_provider_cij.api.consent.import_plan import Statement
from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.api.consent.statements import Columns, Statements, statement_of
from airflow_provider_cij.api.consent.target import resolve
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.hooks.cij import Cij, CijHook, settings_of
from tests.api.consent.organisation import (
    CONSENTS,
    NON_RESTRICTIVE,
    addresses,
    consent,
    consents,
    create,
    purpose,
    topic,
)

YES, NO = ConsentValue.OPTED_IN, ConsentValue.OPTED_OUT
PREFERENCE_CENTER, UNSUBSCRIBE = 534120004, 534120007
OVERWRITE = ["if_source_newer", "always", "never"]


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox whose clock these tests advance."""
    with running_sandbox("--with-check-consent") as running:
        yield running


def run(sandbox, work):
    """Run a coroutine function on the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        return CijHook().run(work)


def now(sandbox, advance=0) -> datetime:
    """Advance the sandbox's clock; return its time."""
    told = sandbox._remote.call("POST", "clock", {"advance_seconds": advance})
    return datetime.fromisoformat(told["now"])


async def rows_of(cij, address, columns="msdynmkt_value,msdynmkt_reason,msdynmkt_source,modifiedon"):
    """Return the rows of an address, in the order of their creation."""
    where = f"msdynmkt_contactpointvalue eq '{address}'"
    return await cij.dataverse.rows(f"{CONSENTS}?$select={columns}&$filter={where}&$orderby=versionnumber")


async def sent(cij, address, purpose_id) -> bool:
    """Ask the sandbox whether it would send."""
    reference = {"@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_purpose", "msdynmkt_purposeid": purpose_id}
    inputs = {"contactpoints": [address], "channeltype": "email", "purpose": reference}
    answer = await cij.dataverse.action("msdynmkt_checkconsent", inputs, repeatable=True)
    return answer["consents"][0]["consentformessage"]


async def imported(cij, purpose_id, *statements, overwrite="if_source_newer", topic=None, **options):
    """Import statements; return the outcomes that were counted."""
    target = await resolve(cij.dataverse, ConsentTo(purpose_id, topic))
    work = ConsentImport(cij.dataverse, target, overwrite, **options)
    await work.write(statements)
    return dict(work.counts)


VALUES = st.sampled_from([YES, NO])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("import"), VALUES, st.integers(0, 90), st.just("if_source_newer")),
        st.tuples(st.just("import"), VALUES, st.integers(0, 90), st.sampled_from(OVERWRITE)),
        st.tuples(st.just("person"), VALUES, st.sampled_from([PREFERENCE_CENTER, UNSUBSCRIBE]), st.integers(0, 3)),
        st.tuples(st.just("system"), VALUES, st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("new row"), VALUES, st.sampled_from([534120000, UNSUBSCRIBE])),
    ),
    min_size=2,
    max_size=7,
)


# An opt-out that reaches us late; a "no" that another system confirmed; a "no" that was repeated.
@example([("import", YES, 60, "if_source_newer"), ("import", NO, 50, "if_source_newer")])
@example([("import", NO, 60, "if_source_newer"), ("system", NO, False, 0), ("import", YES, 50, "if_source_newer")])
@example([("import", NO, 60, "always"), ("import", NO, 10, "always"), ("import", YES, 40, "always")])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_nobody_is_mailed_whose_last_word_is_no(sandbox, events):
    """After any history of imports, choices of the person and writes of other systems, a later no is never mailed."""
    (address,) = addresses(1)
    address = address.lower()

    async def history(cij):
        purpose_id = await purpose(cij, NON_RESTRICTIVE)
        said: dict[ConsentValue, list[datetime]] = {YES: [], NO: []}
        for kind, value, *more in events:
            moment = now(sandbox, 20)
            rows = await rows_of(cij, address)
            if kind == "import":
                back, overwrite = more
                when = moment - timedelta(seconds=back)
                counts = await imported(cij, purpose_id, Statement(address, value, when), overwrite=overwrite)
                if overwrite != "never" or "created" in counts:
                    said[value].append(when)
                if overwrite == "if_source_newer" and value is YES and all(when > no for no in said[NO]):
                    assert await sent(cij, address, purpose_id)
            elif kind == "new row" or not rows:
                source = more[0] if kind == "new row" else 534120000
                await consents(cij, [consent(address, int(value), purpose_id, msdynmkt_source=source)])
                said[value].append(moment)
            else:
                source, row = more[0], rows[more[1] % len(rows)]["msdynmkt_contactpointconsent4id"]
                change = {"msdynmkt_value": int(value)}
                if kind == "person":
                    change["msdynmkt_source"] = source
                elif source:
                    change |= {"msdynmkt_reason": "by the call centre"}
                await cij.dataverse.patch(f"{CONSENTS}({row})", change)
                said[value].append(moment)
            if said[NO] and all(yes <= max(said[NO]) for yes in said[YES]):
                assert not await sent(cij, address, purpose_id), (kind, value, more)

    run(sandbox, history)


def test_a_persons_own_choice_beats_an_older_import(sandbox):
    """A choice by form or link stays against older imports, and ``always`` never turns such a no into a yes."""
    agreed, refused = addresses(2)

    async def work(cij):
        purpose_id = await purpose(cij)
        start = now(sandbox)
        both = [Statement(agreed, NO, start), Statement(refused, YES, start)]
        assert await imported(cij, purpose_id, *both) == {"created": 2}
        for address, value in ((agreed, YES), (refused, NO)):
            (row,) = await rows_of(cij, address, "msdynmkt_value")
            change = {"msdynmkt_value": int(value), "msdynmkt_source": PREFERENCE_CENTER}
            now(sandbox, 100)
            await cij.dataverse.patch(f"{CONSENTS}({row['msdynmkt_contactpointconsent4id']})", change)
        between = start + timedelta(seconds=50)
        both = [Statement(agreed, NO, between), Statement(refused, YES, between)]
        assert await imported(cij, purpose_id, *both) == {"kept_newer": 2}
        later = now(sandbox, 100)
        assert await imported(cij, purpose_id, Statement(refused, YES, later), overwrite="always") == {"kept_newer": 1}
        assert await imported(cij, purpose_id, Statement(refused, YES, later)) == {"updated": 1}
        assert await imported(cij, purpose_id, Statement(agreed, NO, between), overwrite="always") == {"updated": 1}

    run(sandbox, work)


def test_all_duplicates_follow(sandbox):
    """An opt-out and a later opt-in are written to every row of an address, in any spelling."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        await consents(cij, [consent(one, int(YES), purpose_id) for one in (address, address.upper(), address.lower())])
        later = now(sandbox, 100)
        assert await imported(cij, purpose_id, Statement(f" {address}", NO, later)) == {"updated": 1}
        assert {row["msdynmkt_value"] for row in await rows_of(cij, address)} == {int(NO)}
        later = now(sandbox, 100)
        assert await imported(cij, purpose_id, Statement(address, YES, later)) == {"updated": 1}
        assert [row["msdynmkt_value"] for row in await rows_of(cij, address)] == [int(YES)] * 3
        assert await imported(cij, purpose_id, Statement(address, YES, later)) == {"unchanged": 1}

    run(sandbox, work)


@pytest.mark.parametrize("overwrite", OVERWRITE)
@pytest.mark.parametrize(("said", "there"), [("stra\u00dfe{}", "strasse{}"), ("\ufb03{}", "ffi{}")])
def test_no_opt_in_is_made_beside_a_no_that_the_service_takes_for_the_same(sandbox, said, there, overwrite):
    """An opt-in is not written where an address that the service equates says no, and that "no" is not changed."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        await consents(cij, [consent(there.format(address), int(NO), purpose_id)])
        yes = Statement(said.format(address), YES, now(sandbox, 100))
        assert await imported(cij, purpose_id, yes, overwrite=overwrite) == {"kept_newer": 1}
        values = [row["msdynmkt_value"] for row in await rows_of(cij, there.format(address))]
        assert values == [int(NO)]
        no = Statement(said.format(address), NO, now(sandbox))
        assert await imported(cij, purpose_id, no, overwrite=overwrite) == {"created": 1}

    run(sandbox, work)


def test_a_no_with_blanks_around_the_address_is_read(sandbox):
    """An older opt-in is not written over a "no" whose address has the blanks of the source's."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        start = now(sandbox)
        await consents(cij, [consent(f"\u200b{address}", int(NO), purpose_id)])
        row = {"address": f"\u200b{address}", "value": "opted_in", "given_at": (start - timedelta(1)).isoformat()}
        columns = Columns("address", "value", "given_at")
        said = statement_of(row, 1, columns, value=None, reason="", now=start)
        with Statements() as statements:
            statements.add([said])
            (batch,) = statements.batches(1)
        assert await imported(cij, purpose_id, *batch) == {"kept_newer": 1}

    run(sandbox, work)


def test_a_topics_opt_in_opts_in_to_its_purpose(sandbox):
    """An opt-in to a topic writes the purpose's, unless that said no later; an opt-out is the topic's alone."""
    first, second = addresses(2)

    async def work(cij):
        purpose_id = await purpose(cij)
        about = await topic(cij, purpose_id)
        start = now(sandbox)
        await consents(cij, [consent(second, int(NO), purpose_id)])
        both = [Statement(first, YES, start), Statement(second, YES, start)]
        assert await imported(cij, purpose_id, *both, topic=about) == {"created": 1, "kept_newer": 1}
        assert [row["msdynmkt_value"] for row in await rows_of(cij, first)] == [int(YES)] * 2
        assert sorted(row["msdynmkt_value"] for row in await rows_of(cij, second)) == [int(YES), int(NO)]
        assert await imported(cij, purpose_id, Statement(first, NO, now(sandbox, 9)), topic=about) == {"updated": 1}
        assert sorted(row["msdynmkt_value"] for row in await rows_of(cij, first)) == [int(YES), int(NO)]

    run(sandbox, work)


def test_a_no_that_came_meanwhile_wins(sandbox):
    """A "no" that is written into another row while ours is made turns ours back, in this run or in the next."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        start = now(sandbox)
        await imported(cij, purpose_id, Statement(address, YES, start))
        now(sandbox, 100)
        # As if it had come between the read and the write of an import that was killed then.
        await consents(cij, [consent(address, int(NO), purpose_id, msdynmkt_source=UNSUBSCRIBE)])
        now(sandbox, 100)
        (ours, _) = await rows_of(cij, address)
        await cij.dataverse.patch(
            f"{CONSENTS}({ours['msdynmkt_contactpointconsent4id']})", {"msdynmkt_reason": ours["msdynmkt_reason"]}
        )
        assert await sent(cij, address, purpose_id)  # the service takes the row that was modified last
        assert await imported(cij, purpose_id, Statement(address, YES, start)) == {"kept_newer": 1}
        assert not await sent(cij, address, purpose_id)
        assert {row["msdynmkt_value"] for row in await rows_of(cij, address)} == {int(NO)}

    run(sandbox, work)


class Interrupted(DataverseClient):
    """A client whose first write of opt-ins comes after somebody else's "no"."""

    meanwhile = None

    async def _interrupt(self):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile()

    async def batch(self, operations):
        """Send a batch, late."""
        await self._interrupt()
        return await super().batch(operations)

    async def write_many(self, *arguments, **options):
        """Write many rows, late."""
        await self._interrupt()
        return await super().write_many(*arguments, **options)


@pytest.mark.parametrize("there", [True, False])
def test_a_no_between_read_and_write_wins(sandbox, there):
    """A person who unsubscribes after an import has read the rows is not opted in by it."""
    (address,) = addresses(1)

    async def work(_):
        connection = Connection.from_uri(sandbox.airflow_conn_uri, conn_id="x")
        async with Interrupted(settings_of(connection)) as client:
            cij = Cij.on(client)
            purpose_id = await purpose(cij)
            if there:
                (row,) = await consents(cij, [consent(address, int(NO), purpose_id)])
            given = now(sandbox, 100)
            now(sandbox, 100)

            async def unsubscribe():
                no = {"msdynmkt_value": int(NO), "msdynmkt_source": UNSUBSCRIBE}
                if there:
                    await client.patch(f"{CONSENTS}({row})", no)
                else:
                    await create(cij, CONSENTS, **consent(address, int(NO), purpose_id, msdynmkt_source=UNSUBSCRIBE))

            client.meanwhile = unsubscribe
            assert await imported(cij, purpose_id, Statement(address, YES, given)) == {"kept_newer": 1}
            assert client.meanwhile is None
            assert not await sent(cij, address, purpose_id)

    run(sandbox, work)


@pytest.mark.parametrize("fault", ["lost", "503", "429", "reset"])
def test_faults_change_neither_the_rows_nor_the_counts(sandbox, fault):
    """Lost replies, outages and throttling leave one row an address, and the counts of a run without faults."""
    points = addresses(12)

    async def work(cij):
        purpose_id = await purpose(cij)
        start = now(sandbox)
        await consents(cij, [consent(point, int(YES), purpose_id) for point in points[:3]])
        await consents(cij, [consent(point, int(NO), purpose_id) for point in points[3:6]])
        later = now(sandbox, 100)
        statements = [Statement(point, YES if 3 <= place < 9 else NO, later) for place, point in enumerate(points)]
        more = {"retry_after": 0} if fault == "429" else {}
        for path in ("CreateMultiple", "UpdateMultiple", "$batch"):
            sandbox.faults.add(fault, path=path.replace("$", "*"), count=1, **more)
        try:
            assert await imported(cij, purpose_id, *statements) == {"created": 6, "updated": 6}
        finally:
            sandbox.faults.clear()
        for statement in statements:
            assert [row["msdynmkt_value"] for row in await rows_of(cij, statement.address)] == [int(statement.value)]
        assert await imported(cij, purpose_id, *statements) == {"unchanged": 12}
        return start

    run(sandbox, work)


def test_a_dry_run_writes_nothing(sandbox):
    """A dry run counts what would be written, and writes nothing."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        assert await imported(cij, purpose_id, Statement(address, NO, None), dry_run=True) == {"created": 1}
        assert await rows_of(cij, address) == []

    run(sandbox, work)


def test_a_row_that_is_refused_fails_alone(sandbox):
    """A statement that the service refuses fails with its line and reason; the others of its request are written."""
    good = addresses(1)[0]
    bad = f"{'x' * 400}@contoso.test"
    failed: list[tuple[int, str]] = []

    async def work(cij):
        purpose_id = await purpose(cij)
        both = [Statement(good, NO, None, line=1), Statement(bad, NO, None, line=2)]
        assert await imported(cij, purpose_id, *both, on_failed=failed.extend) == {"created": 1, "failed": 1}
        assert len(await rows_of(cij, good)) == 1

    run(sandbox, work)
    ((line, reason),) = failed
    assert line == 2
    assert "0x80044331" in reason
