"""What an organisation says of itself and of the user: version, type, roles, privileges, actions. Reads only.

Sources: Dataverse Web API function reference, WhoAmI, RetrieveVersion, RetrieveCurrentOrganization and
RetrieveUserPrivileges; table reference of CustomAPI.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_cij.dataverse.odata import in_filter, query, row_path
from airflow_provider_cij.errors import CijError, CijRefusedError, CijUnavailableError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_ORGANISATION = (
    "RetrieveCurrentOrganization(AccessType=@access)?@access=Microsoft.Dynamics.CRM.EndpointAccessType'Default'"
)


async def version_of(client: DataverseClient) -> str:
    """Return the version of Dataverse, ``unknown`` when the service does not tell it.

    :param client: an open client
    """
    try:
        return str((await client.get("RetrieveVersion()")).get("Version") or "unknown")
    except CijError:
        return "unknown"


async def type_of(client: DataverseClient) -> str:
    """Return the type of the organisation, ``""`` when the service does not tell it.

    :param client: an open client
    :return: ``Customer`` for production; ``CustomerTest``, ``Developer``, ``Trial`` and others
    """
    try:
        detail = (await client.get(_ORGANISATION)).get("Detail")
    except CijError:
        return ""
    kind = detail.get("OrganizationType") if isinstance(detail, dict) else None
    return "" if kind is None else str(kind)


async def describe_user(client: DataverseClient, user_id: str) -> str:
    """Return the name, the id and the roles of a user, as far as they can be read.

    :param client: an open client
    :param user_id: the user's id, as WhoAmI gives it
    """
    try:
        user = await client.get(query(row_path("systemusers", user_id), select=("fullname",)))
        where = f"systemuserid eq {user_id}"
        given = await client.rows(query("systemuserrolescollection", select=("roleid",), where=where))
        ids = [str(row["roleid"]) for row in given]
        roles = await client.rows(query("roles", select=("name",), where=in_filter("roleid", ids))) if ids else []
    except CijError:  # it says who, not whether
        return f"user {user_id}, whose roles can't be read"
    names = ", ".join(sorted(repr(role["name"]) for role in roles)) or "none"
    return f"{user.get('fullname')!r} (user {user_id}; roles: {names})"


async def privileges_of(client: DataverseClient, user_id: str) -> frozenset[str] | None:
    """Return the names of the user's privileges in lower case, None when they can't be read.

    :param client: an open client
    :param user_id: the user's id, as WhoAmI gives it
    :return: such as ``prvreadcontact``
    """
    path = f"{row_path('systemusers', user_id)}/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    try:
        rows = (await client.get(path)).get("RolePrivileges")
    except CijError:
        return None
    names = [row.get("PrivilegeName") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    # Older versions return the ids alone.
    return frozenset(str(name).lower() for name in names) if names and all(names) else None


async def is_listed(client: DataverseClient, action: str) -> bool:
    """Return whether an action is in the list of custom APIs, False when that can't be read.

    :param client: an open client
    :param action: the action's unique name
    """
    return bool(await _listed(client, (action,)))


async def missing_actions(client: DataverseClient, names: Iterable[str]) -> frozenset[str]:
    """Return the actions that an organisation does not have.

    An action that is not in the list of custom APIs is asked for by GET, which carries out nothing: the service knows
    no resource of that name, or refuses the method.

    :param client: an open client
    :param names: the actions' unique names
    """
    wanted = sorted(set(names))
    listed = await _listed(client, wanted)
    missing = set()
    for name in wanted:
        if name.lower() not in listed:
            try:
                await client.get(name)
            except CijUnavailableError:
                missing.add(name)
            except CijRefusedError:
                pass
    return frozenset(missing)


async def _listed(client: DataverseClient, names: Sequence[str]) -> set[str]:
    try:
        rows = await client.rows(query("customapis", select=("uniquename",), where=in_filter("uniquename", names)))
    except CijRefusedError:
        return set()
    return {str(row.get("uniquename")).lower() for row in rows}


async def readable(client: DataverseClient, table: str, entity_set: str = "") -> CijError | None:
    """Return why the rows of a table can't be read, None when they can.

    :param client: an open client
    :param table: the table's logical name
    :param entity_set: its name in URLs; by default the logical name and an s
    """
    try:
        await client.get(query(entity_set or f"{table}s", select=(f"{table}id",), top=1))
    except CijRefusedError as error:  # the privilege is missing, or the table
        return error
    return None
