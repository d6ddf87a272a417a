"""Ids of members as sets and as lists."""

from __future__ import annotations

import uuid

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids

PEOPLE = [str(uuid.UUID(int=number)) for number in range(1, 400)]


def id_set(ids) -> IdSet:
    """Return a set of these ids."""
    made = IdSet()
    made.update(pack_guids(list(ids))[0])
    return made


def id_texts(ids: IdSet) -> set[str]:
    """Return the ids of a set as texts."""
    return {member_id for batch in ids.batches(100) for member_id in batch}


async def contact_ids(cij: Cij, path: str) -> list[str]:
    """Return the ids of the contacts that a query finds."""
    return [row["contactid"] async for page in cij.dataverse.pages(path) for row in page]
