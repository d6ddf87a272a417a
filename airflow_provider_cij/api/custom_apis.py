"""Read what inputs an organisation's actions take, where no document says it.

Source: Dataverse table reference, CustomAPI and CustomAPIRequestParameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.odata import literal, query

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient


async def inputs_of(client: DataverseClient, action: str) -> list[dict[str, Any]]:
    """Read the inputs of an action.

    :param client: an open client
    :param action: the action's unique name
    :return: a row with ``uniquename``, ``type`` and ``isoptional`` for each input; empty when the organisation does not
        list the action
    :raises CijError: the list of actions can't be read
    """
    inputs = (await custom_api(client, f"uniquename eq {literal(action)}")).get("CustomAPIRequestParameters")
    return inputs if isinstance(inputs, list) else []


async def custom_api(client: DataverseClient, where: str) -> dict[str, Any]:
    """Read the first action that a filter finds, with its inputs.

    :param client: an open client
    :param where: the filter, on columns of customapi
    :return: the action's row; empty when there is none
    :raises CijError: the list of actions can't be read
    """
    path = query(
        "customapis",
        select=("uniquename",),
        where=where,
        expand="CustomAPIRequestParameters($select=uniquename,type,isoptional)",
    )
    return next(iter(await client.rows(path)), {})
