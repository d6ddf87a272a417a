"""The verbs on one address, which a hook's session gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_cij.api.consent.consent_to import Channel, ConsentTo
from airflow_provider_cij.api.consent.rules import ConsentValue, Outcome
from airflow_provider_cij.errors import CijInputError
from tests.api.consent.organisation import CONSENTS, IN, OUT, RESTRICTIVE, addresses, consent, consents, purpose, topic

YES, NO, UNSET = ConsentValue.OPTED_IN, ConsentValue.OPTED_OUT, ConsentValue.NOT_SET


def test_set_get_and_decide(organisation):
    """What is set is read in any spelling and decided by, and setting it again writes nothing."""
    (address,) = addresses(1)

    async def work(cij):
        to = ConsentTo(await purpose(cij, RESTRICTIVE))
        steps = [await cij.consent.get(address, to), (await cij.consent.decision(address, to)).outcome]
        for value in (YES, NO, NO):
            steps += [
                await cij.consent.set(address, value, to, reason="test"),
                await cij.consent.get(f" {address} ", to),
            ]
            steps.append((await cij.consent.decision(address.upper(), to)).outcome)
        return steps

    sent, blocked = Outcome.WILL_SEND, Outcome.WILL_NOT_SEND
    assert organisation(work) == [UNSET, blocked, True, YES, sent, True, NO, blocked, False, NO, blocked]


def test_the_latest_row_counts(organisation):
    """Of several rows the most recently modified one is read, and of two of the same second the stricter."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        await consents(cij, [consent(address, value, purpose_id) for value in (IN, OUT)])
        return await cij.consent.get(address, ConsentTo(purpose_id))

    assert organisation(work) == NO


def test_a_later_no_is_left_alone(organisation):
    """An opt-in of an earlier date than a "no" writes nothing."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        await consents(cij, [consent(address, OUT, purpose_id)])
        to, before = ConsentTo(purpose_id), datetime.now(UTC) - timedelta(days=1)
        return await cij.consent.set(address, YES, to, given_at=before), await cij.consent.get(address, to)

    assert organisation(work) == (False, NO)


def test_channels_and_topics_are_apart(organisation):
    """A topic's consent is not its purpose's opt-out, and a text message's is not an e-mail's."""
    (address,) = addresses(1)

    async def work(cij):
        purpose_id = await purpose(cij)
        about = ConsentTo(purpose_id, await topic(cij, purpose_id))
        await cij.consent.set(address, NO, about)
        await cij.consent.set(address, YES, ConsentTo(purpose_id), Channel.TEXT)
        rows = await cij.dataverse.rows(
            f"{CONSENTS}?$select=msdynmkt_reason&$filter=msdynmkt_contactpointvalue eq '{address}'"
        )
        return [
            await cij.consent.get(address, about),
            await cij.consent.get(address, ConsentTo(purpose_id)),
            await cij.consent.get(address, ConsentTo(purpose_id, channel="text")),
            len(rows),
        ]

    assert organisation(work) == [NO, UNSET, YES, 2]


def test_what_no_address_can_say_is_refused(organisation):
    """An empty contact point, and a value that is neither yes nor no, are refused."""

    async def work(cij):
        with pytest.raises(CijInputError, match="is empty"):
            await cij.consent.get(" ")
        with pytest.raises(CijInputError, match="is empty"):
            await cij.consent.decision("")
        with pytest.raises(CijInputError, match="OPTED_IN or OPTED_OUT"):
            await cij.consent.set("a@b", UNSET)

    organisation(work)
