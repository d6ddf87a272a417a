"""What an organisation says of its own actions, where no document says what they take.

Source: Dataverse table reference, CustomAPI and CustomAPIRequestParameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.odata import literal, query

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient


async def inputs_of(client: DataverseClient, action: str) -> list[dict[str, Any]]:
    """Read what an action takes: ``uniquename``, ``type`` and ``isoptional`` of each input.

    :return: nothing when the organisation does not list the action
    :raises CijError: the list of actions can't be read
    """
    inputs = (await custom_api(client, f"uniquename eq {literal(action)}")).get("CustomAPIRequestParameters")
    return inputs if isinstance(inputs, list) else []


async def custom_api(client: DataverseClient, where: str) -> dict[str, Any]:
    """Read the first action that a filter finds, with its inputs; an empty dict when there is none."""
    path = query(
        "customapis",
        select=("uniquename",),
        where=where,
        expand="CustomAPIRequestParameters($select=uniquename,type,isoptional)",
    )
    return next(iter(await client.rows(path)), {})
