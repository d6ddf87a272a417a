"""Importing consent against the sandbox: no later "no" is lost, whatever happened before."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cij_sandbox.testing import running_sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.api.consent.bulk import ConsentImport
from airflow_provider_cij.api.consent.import_plan import Statement
from airflow_provider_cij.api.consent.rules import ConsentTo, ConsentValue
from airflow_provider_cij.api.consent.target import resolve
from airflow_provider_cij.hooks.cij import CijHook
from tests.api.consent.organisation import CONSENTS, NON_RESTRICTIVE, addresses, consent, consents, purpose

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
        st.tuples(st.just("import"), VALUES, st.integers(0, 200), st.sampled_from(OVERWRITE)),
        st.tuples(st.just("person"), VALUES, st.sampled_from([PREFERENCE_CENTER, UNSUBSCRIBE]), st.integers(0, 3)),
        st.tuples(st.just("system"), VALUES, st.booleans(), st.integers(0, 3)),
        st.tuples(st.just("new row"), VALUES, st.sampled_from([534120000, UNSUBSCRIBE])),
    ),
    min_size=2,
    max_size=7,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
