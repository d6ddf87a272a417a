"""The response of ListMembers as the documents print it."""

from __future__ import annotations

A, B = "0f5b0c7f-395d-447b-b14c-315a601f878e", "5f2e9d6c-2c5e-4e11-be6f-000d3a3e1f2a"


# As "View members" of the article prints it, with an unescaped quote before "]".
AS_DOCUMENTED = (
    '{"@odata.context": "https://org/api/data/v9.0/$metadata#Microsoft.Dynamics.CRM.msdynmkt_MembersListResponse",\n'
    '"StatusCode": 200,\n'
    '"ResultText": "{\\"baseEntityLogicalName\\":\\"contact\\",\\"primaryKeyColumnName\\":\\"contactid\\",'
    f'\\"members\\":[\\"{A}, {B}"],\\"additionalProperties\\":{{}}}}"\n}}'
)
