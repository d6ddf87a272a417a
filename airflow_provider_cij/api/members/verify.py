"""Look whether groups hold a list after they were mirrored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.sync_plan import Plan
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.errors import CijMovedError

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often a mirror is carried out before another writer is blamed."""
# A listing may lag behind our own writes.
_WAITS = (1.0, 2.0, 4.0)


async def verified(members: Members, segment_id: str, groups: Sequence[MemberGroup], wanted: IdSet) -> Plan:
    """List groups until they hold a list, a few times within seconds.

    :param members: the verbs on members
    :param segment_id: the segment
    :param groups: its groups that hold the list together
    :param wanted: the ids of the list
    :return: what is left to do; nothing when the groups are equal to the list
    :raises CijIncompleteError: the groups change each time they are listed
    """
    for wait in (*_WAITS, None):
        try:
            plan = await members.plan(segment_id, groups, wanted)
        except CijMovedError:
            if wait is None:
                raise
        else:
            if plan.done or wait is None:
                return plan
            log.info("The groups are not yet listed as they were sent; the next look is in %.0f s", wait)
        await asyncio.sleep(wait)
    raise AssertionError  # the last wait is None
