"""The errors of the Web API and of the login endpoint: status, code and message.

The codes and messages are those of "Compose HTTP requests and handle errors" and of recorded answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

PLUG_IN = "0x80040265"
_HELP = (
    "For more information on this error please follow this help link "
    "https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException : "
)


class ODataError(Exception):
    """An error of the Web API: HTTP status, hexadecimal code (may be empty) and message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class LoginError(Exception):
    """An error of the login endpoint: HTTP status, error, AADSTS number and message."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number
        self.message = message

    def body(self) -> dict[str, object]:
        """Return the JSON of the error."""
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.message} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {stamp}",
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }


def expired_secret(client_id: str) -> LoginError:
    """Return the error for a client secret that has expired."""
    return LoginError(
        401,
        "invalid_client",
        7000222,
        f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create new keys "
        "for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: "
        "https://aka.ms/certCreds.",
    )


def wrong_secret(client_id: str) -> LoginError:
    """Return the error for a wrong client secret."""
    return LoginError(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
        f"value, not the client secret ID, for a secret added to app '{client_id}'.",
    )


def unknown_application(client_id: str) -> LoginError:
    """Return the error for an application that the tenant does not have."""
    return LoginError(
        400,
        "unauthorized_client",
        700016,
        f"Application with identifier '{client_id}' was not found in the directory.",
    )


def unknown_tenant(tenant: str) -> LoginError:
    """Return the error for a tenant that does not exist."""
    return LoginError(
        400,
        "invalid_request",
        90002,
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
        "the correct cloud.",
    )


def not_implemented(what: str) -> ODataError:
    """Return the error for what the real service has and the sandbox does not implement."""
    return ODataError(501, "", f"The sandbox does not implement {what}.")


def bad_query(message: str) -> ODataError:
    """Return the error for a URL or a query option."""
    return ODataError(400, "0x80060888", message)


def bad_payload(entity: str, inner: str) -> ODataError:
    """Return the error for a request body."""
    return ODataError(
        400, "0x80048d19", f"Error identified in Payload provided by the user for Entity :'{entity}', {_HELP}{inner}"
    )


def bad_parameter(message: str) -> ODataError:
    """Return the error for an input of an action."""
    return bad_payload("", f"Microsoft.OData.ODataException: {message}")


def undeclared_in_payload(entity: str, name: str) -> ODataError:
    """Return the error for a property in a body that the table does not have."""
    return bad_payload(
        entity,
        "Microsoft.Crm.CrmException: Invalid property "
        f"'{name}' was found in entity 'Microsoft.Dynamics.CRM.{entity}'. ---> Microsoft.OData.ODataException: "
        f"The property '{name}' does not exist on type 'Microsoft.Dynamics.CRM.{entity}'. Make sure to only use "
        "property names that are defined by the type.",
    )


def undeclared_in_query(entity: str, name: str) -> ODataError:
    """Return the error for a property in a query option that the table does not have."""
    return bad_query(f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{entity}'.")


def no_such_resource(segment: str) -> ODataError:
    """Return the error for an entity set, function or action that does not exist."""
    return ODataError(404, "0x80060888", f"Resource not found for the segment '{segment}'.")


def no_such_operation(url: str) -> ODataError:
    """Return the error for a function or an action that is called by the other one's method."""
    return ODataError(404, "", f"No HTTP resource was found that matches the request URI '{url}'.")


def no_such_row(entity: str, row_id: str) -> ODataError:
    """Return the error for a row that does not exist."""
    return ODataError(404, "0x80040217", f"{entity} With Id = {row_id} Does Not Exist")


def duplicate_row() -> ODataError:
    """Return the error for a primary key that is taken."""
    return ODataError(412, "0x80040237", "A record with matching key values already exists.")


def duplicate_detected(status: int, code: str) -> ODataError:
    """Return the error for a row that a duplicate detection rule takes for another one.

    The list of codes has 412, a sample of the documents prints 500.
    """
    return ODataError(
        status,
        code,
        "A record was not created or updated because a duplicate of the current record already exists.",
    )


def sql_failure(*, timeout: bool) -> ODataError:
    """Return the error for a statement that took too long, or that lost a deadlock.

    Assumption: codes and messages are documented, the status is that of any error of the server.
    """
    if timeout:
        return ODataError(500, "0x80044151", "SQL timeout expired.")
    return ODataError(500, "0x80044150", "Generic SQL error. Sql Number: 1205")


def missing_value(entity: str, column: str) -> ODataError:
    """Return the error for a row without a value its table requires.

    Assumption: the rule is documented, code and message are not.
    """
    return ODataError(400, "0x80040203", f"The attribute '{column}' of the entity '{entity}' is required.")


def in_use() -> ODataError:
    """Return the error for a row that another row refers to."""
    return ODataError(
        405, "0x80040227", "The object you tried to delete is associated with another object and cannot be deleted."
    )


def no_privilege(entity: str, verb: str, user: str) -> ODataError:
    """Return the error for a user whose roles lack a privilege, by the table's schema name and the operation."""
    privilege = f"prv{verb}{entity}"
    privilege_id = uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:privilege:{privilege}")
    return ODataError(
        403,
        "0x80040220",
        f"Principal user (Id={user}, type=8, roleCount=1, privilegeCount=1, accessMode=4), is missing "
        f"{privilege} privilege (Id={privilege_id}) on OTC=0 for entity '{entity.lower()}'. context.Caller={user}",
    )


def version_mismatch() -> ODataError:
    """Return the error for an ``If-Match`` that names another version of the row."""
    return ODataError(
        412, "0x80060882", "The version of the existing record doesn't match the RowVersion property provided."
    )


def option_out_of_range(entity: str, column: str, value: int, accepted: list[int]) -> ODataError:
    """Return the error for an option-set value that does not exist."""
    return ODataError(
        400,
        "0x8004431a",
        f"A validation error occurred. The value {value} of '{column}' on record of type '{entity}' is outside the "
        f"valid range. Accepted Values: {','.join(map(str, accepted))}",
    )


def number_out_of_range(entity: str, column: str, code: str) -> ODataError:
    """Return the error for a number outside the column's minimum and maximum."""
    return ODataError(
        400,
        code,
        f"A validation error occurred. The value of '{column}' on record of type '{entity}' is outside the "
        "valid range.",
    )


def too_long(entity: str, column: str, limit: int) -> ODataError:
    """Return the error for a string longer than its column."""
    return ODataError(
        400,
        "0x80044331",
        f"A validation error occurred.  The length of the '{column}' attribute of the '{entity}' entity exceeded the "
        f"maximum allowed length of '{limit}'.",
    )


def status_of_other_state(entity: str, status: int, state: int) -> ODataError:
    """Return the error for a status reason that does not belong to the state."""
    return ODataError(400, "0x80048408", f"{status} is not a valid status code for state code {state} on {entity}.")


def wrong_method(method: str, allowed: str) -> ODataError:
    """Return the error for a verb the resource does not know."""
    return ODataError(405, "", f"The requested resource does not support http method '{method}'.", {"Allow": allowed})


def plug_in(reason: str, status: int = 400, code: str = PLUG_IN) -> ODataError:
    """Return the error of a CIJ action, in which the plug-in wraps the error of the service behind it.

    Assumption: recordings show only the frame of this text; the reason inside it is the sandbox's own.
    """
    return ODataError(status, code, _FRAMES[-1].format(reason=reason, correlation_id=uuid.uuid4()))


def set_frame(*, is_plain: bool) -> None:
    """Set whether the errors of CIJ actions are the reason alone, without the plug-in's frame."""
    _FRAMES[1:] = ["{reason}"] if is_plain else []


# The last one is used.
_FRAMES = [
    "Exception 'WebException' occured: The remote server returned an error: (400) Bad Request. "
    "{reason}, CorrelationId: {correlation_id}"
]
