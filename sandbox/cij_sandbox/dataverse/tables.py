"""The tables of the platform itself, with the columns, option sets and limits of the Microsoft table reference."""

from __future__ import annotations

from cij_sandbox.core.columns import choice, flag, lookup, money, number, text
from cij_sandbox.core.schema import ACTIVE_OR_INACTIVE, Column, Kind, Table

ORGANIZATION_ID = "0b7a2f6e-51c3-4d28-8e9a-3f1c0d5b7a10"
BUSINESS_UNIT_ID = "1c8b3a7f-62d4-4e39-9fab-402d1e6c8b20"
USER_ID = "2d9c4b80-73e5-4f4a-80bc-513e2f7d9c30"
CLIENT_ID = "c1f7a9b2-3d84-4e65-8f10-6b2a4d9e3c02"  # of the application user

_ADDRESS = (
    text("telephone1", 50),
    text("mobilephone", 50),
    text("address1_line1", 250),
    text("address1_city", 80),
    text("address1_county", 50),
    text("address1_stateorprovince", 50),
    text("address1_postalcode", 20),
    text("address1_country", 80),
)
_PERSON = (
    text("firstname", 50),
    text("lastname", 50),
    Column("fullname", max_length=160, read_only=True),
    *(text(f"emailaddress{number}", 100) for number in (1, 2, 3)),
    # The organisation's own: the platform ships no alternate key with contacts and leads.
    text("new_customerno", 20),
    *_ADDRESS,
)
_PERMISSIONS = (
    choice("preferredcontactmethodcode", "Any", "Email", "Phone", "Fax", "Mail"),
    flag("donotbulkemail"),
    flag("donotemail"),
)

CONTACT = Table(
    "contact",
    "fullname",
    (
        *_PERSON,
        text("jobtitle"),
        text("company", 50),
        lookup("parentcustomerid", "account", "parentcustomerid_account"),
        text("description", 2000),
        Column("birthdate", Kind.DATE),
        choice("gendercode", "Male", "Female"),
        choice("customertypecode", "Default Value"),
        money("creditlimit"),
        money("annualincome"),
        number("numberofchildren", 0, 1_000_000_000),
        *_PERMISSIONS,
    ),
    ACTIVE_OR_INACTIVE,
    "Contact",
)

ACCOUNT = Table(
    "account",
    "name",
    (
        text("name", 160),
        text("accountnumber", 20),
        text("emailaddress1", 100),
        text("telephone1", 50),
        text("address1_city", 80),
        text("address1_country", 80),
        text("description", 2000),
    ),
    ACTIVE_OR_INACTIVE,
    "Account",
)

LEAD = Table(
    "lead",
    "fullname",
    (
        *_PERSON,
        text("subject", 300),
        text("companyname", 100),
        text("jobtitle"),
        text("description", 2000),
        choice("leadqualitycode", "Hot", "Warm", "Cold"),
        choice("leadsourcecode", "Advertisement", "Employee Referral", "External Referral", "Partner"),
        money("revenue"),
        number("numberofemployees", 0, 1_000_000),
        *_PERMISSIONS,
    ),
    {
        1: (0, "New"),
        2: (0, "Contacted"),
        3: (1, "Qualified"),
        4: (2, "Lost"),
        5: (2, "Cannot Contact"),
        6: (2, "No Longer Interested"),
        7: (2, "Canceled"),
    },
    "Lead",
)

CUSTOM_API = Table(
    "customapi",
    "name",
    (text("uniquename"), text("name"), text("displayname"), flag("isfunction"), number("bindingtype")),
    schema_name="CustomAPI",
    writable=False,
)
CUSTOM_API_PARAMETER = Table(
    "customapirequestparameter",
    "name",
    (
        text("uniquename"),
        text("name"),
        number("type"),
        flag("isoptional"),
        Column("customapiid", Kind.GUID, target="customapi"),
    ),
    schema_name="CustomAPIRequestParameter",
    writable=False,
)
CUSTOM_API_PROPERTY = Table(
    "customapiresponseproperty",
    "name",
    (text("uniquename"), text("name"), number("type"), Column("customapiid", Kind.GUID, target="customapi")),
    schema_name="CustomAPIResponseProperty",
    writable=False,
    set_name="customapiresponseproperties",
)

ORGANIZATION = Table("organization", "name", (text("name", 160),), {}, "Organization", writable=False)
BUSINESS_UNIT = Table("businessunit", "name", (text("name", 160),), {}, "BusinessUnit")
SYSTEM_USER = Table(
    "systemuser",
    "fullname",
    (
        text("fullname", 200),
        text("domainname", 1024),
        Column("applicationid", Kind.GUID),
        flag("isdisabled"),
        Column("businessunitid", Kind.GUID, target="businessunit"),
    ),
    {},
    "SystemUser",
    writable=False,
)

ROLE = Table("role", "name", (text("name", 100),), {}, "Role", writable=False)
# The intersect table of systemuserroles_association.
USER_ROLE = Table(
    "systemuserroles",
    "roleid",
    (Column("systemuserid", Kind.GUID), Column("roleid", Kind.GUID)),
    {},
    "SystemUserRoles",
    writable=False,
    set_name="systemuserrolescollection",
)

TABLES = (
    CONTACT,
    LEAD,
    ACCOUNT,
    CUSTOM_API,
    CUSTOM_API_PARAMETER,
    CUSTOM_API_PROPERTY,
    ORGANIZATION,
    BUSINESS_UNIT,
    SYSTEM_USER,
    ROLE,
    USER_ROLE,
)
# Dataverse indexes these columns too. Without an index, matching by e-mail address would read the whole table.
INDEXES = """
CREATE INDEX IF NOT EXISTS contact_by_email ON contact (fold(emailaddress1));
CREATE INDEX IF NOT EXISTS lead_by_email ON lead (fold(emailaddress1));
"""
