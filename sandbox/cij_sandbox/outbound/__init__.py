"""Outbound marketing (``msdyncrm_*``), which Microsoft removed in 2026 and its documents still describe.

From "Basic operations on segments using API in outbound marketing" and "Basic outbound marketing customer journey API
operations"; the state machines are those of the table reference.
"""
