"""Purposes, people and consents that tests make in a sandbox, with the provider's own client."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_cij.api.cij import Cij

CONSENTS = "msdynmkt_contactpointconsent4s"
NOT_SET, IN, OUT = 534120000, 534120001, 534120002
RESTRICTIVE, NON_RESTRICTIVE, DISABLED = 534120000, 534120001, 534120002


async def create(cij: Cij, entity_set: str, **columns: Any) -> str:
    """Create a row; return its id."""
    return await cij.dataverse.post(entity_set, columns, repeatable=False)


async def purpose(cij: Cij, model: int | None = NON_RESTRICTIVE, **columns: Any) -> str:
    """Create a purpose with an enforcement model for e-mail."""
    name = f"purpose {uuid.uuid4()}"
    return await create(cij, "msdynmkt_purposes", msdynmkt_name=name, msdynmkt_enforcementmodel=model, **columns)


async def topic(cij: Cij, purpose_id: str) -> str:
    """Create a topic of a purpose."""
    bound = {"msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({purpose_id})"}
    return await create(cij, "msdynmkt_topics", msdynmkt_name=f"topic {uuid.uuid4()}", **bound)


async def profile(cij: Cij, purpose_id: str, **columns: Any) -> str:
    """Create a compliance profile that has a purpose."""
    name = f"profile {uuid.uuid4()}"
    made = await create(cij, "msdynmkt_compliancesettings4s", msdynmkt_name=name, **columns)
    pair = {"msdynmkt_purposeid": purpose_id, "msdynmkt_compliancesettings4id": made}
    await create(cij, "msdynmkt_msdynmkt_purpose_msdynmkt_compliancev4set", **pair)
    return made


async def move(cij: Cij, entity_set: str, row_id: str, unit_id: str) -> None:
    """Give a row to a business unit."""
    bound = {"owningbusinessunit@odata.bind": f"/businessunits({unit_id})"}
    await cij.dataverse.patch(f"{entity_set}({row_id})", bound)


def consent(address: str, value: int | None, purpose_id: str, topic_id: str = "", **more: Any) -> dict[str, Any]:
    """Return the columns of a consent to a purpose or topic by e-mail."""
    bound = {"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({topic_id})"} if topic_id else {}
    return {
        "@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_contactpointconsent4",
        "msdynmkt_contactpointvalue": address,
        "msdynmkt_contactpointtype": 534120000,
        "msdynmkt_contactpointconsenttype": 534120001 if topic_id else 534120000,
        "msdynmkt_value": value,
        "msdynmkt_source": 534120000,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({purpose_id})",
        **bound,
        **more,
    }


async def create_many(cij: Cij, entity_set: str, table: str, rows: list[dict[str, Any]]) -> list[str]:
    """Create rows in one request; return their ids."""
    if not rows:
        return []
    targets = [{"@odata.type": f"Microsoft.Dynamics.CRM.{table}", **row} for row in rows]
    action = f"{entity_set}/Microsoft.Dynamics.CRM.CreateMultiple"
    return list((await cij.dataverse.action(action, {"Targets": targets}, repeatable=False))["Ids"])


async def consents(cij: Cij, rows: list[dict[str, Any]]) -> list[str]:
    """Create consents in one request; return their ids."""
    return await create_many(cij, CONSENTS, "msdynmkt_contactpointconsent4", rows)


def addresses(count: int) -> list[str]:
    """Return addresses that no other test uses."""
    mark = uuid.uuid4().hex[:12]
    return [f"P{number}.{mark}@contoso.test" for number in range(count)]
