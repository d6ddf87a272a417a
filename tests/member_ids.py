"""Ids of members, as sets and as lists."""

from __future__ import annotations

import uuid

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids

PEOPLE = [str(uuid.UUID(int=number)) for number in range(1, 400)]


def idset(ids) -> IdSet:
    """Make a set of ids."""
    made = IdSet()
    made.update(pack_guids(list(ids))[0])
    return made


def texts(ids: IdSet) -> set[str]:
    """Give what is in it."""
    return {one for batch in ids.batches(100) for one in batch}


async def ids_of(cij: Cij, path: str) -> list[str]:
    """List the contacts of a query."""
    return [row["contactid"] async for page in cij.dataverse.pages(path) for row in page]
