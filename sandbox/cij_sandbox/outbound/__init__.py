"""Outbound marketing (``msdyncrm_*``), which Microsoft removed in 2026 and its documents still describe.

The sources are "Basic operations on segments using API in outbound marketing" and "Basic outbound marketing customer
journey API operations"; the status transitions are those of the table reference.
"""
