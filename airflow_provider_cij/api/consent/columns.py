"""The columns of msdynmkt_contactpointconsent4, and codes in them. Pure.

Source: table reference of msdynmkt_contactpointconsent4.
"""

from __future__ import annotations

CONSENTS, ID = "msdynmkt_contactpointconsent4s", "msdynmkt_contactpointconsent4id"
POINT, POINT_TYPE, VALUE = "msdynmkt_contactpointvalue", "msdynmkt_contactpointtype", "msdynmkt_value"
SOURCE, REASON, LOGICAL_REASON = "msdynmkt_source", "msdynmkt_reason", "msdynmkt_logicalreason"
PURPOSE, TOPIC = "_msdynmkt_purposeid_value", "_msdynmkt_topicid_value"
UNIT, MODIFIED_ON = "_owningbusinessunit_value", "modifiedon"
KIND = "msdynmkt_contactpointconsenttype"
OF_PURPOSE, OF_TOPIC = 534120000, 534120001
"""What ``KIND`` holds: the row is about a purpose, or about a topic."""
INTERNAL = 534120000
"""What ``SOURCE`` holds in rows that an application writes."""
NO_REASONS = 534119999
"""What ``LOGICAL_REASON`` holds in such rows."""
