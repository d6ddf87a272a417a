"""Responses about custom triggers."""

from __future__ import annotations

from tests.scripted import Answer

API, PERSON = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
STANDARD = {
    "msdynmkt_signaltimestamp": 1,
    "msdynmkt_signalingestiontimestamp": 1,
    "msdynmkt_signaluserauthid": 10,
    "msdynmkt_profileid": 10,
    "bindingid": 10,
}


def trigger_definition(**others) -> list[Answer]:
    """Return the responses with a trigger's definition and its inputs."""
    found = {"msdynmkt_uniquename": "msdynmkt_order", "msdynmkt_state": 534120002, "_msdynmkt_customapiid_value": API}
    inputs = [{"uniquename": name, "type": kind} for name, kind in STANDARD.items()]
    inputs += [{"uniquename": "msdynmkt_text", "type": 10}]
    api = {"uniquename": "msdynmkt_order", "CustomAPIRequestParameters": inputs}
    return [Answer(body={"value": [found | others]}), Answer(body={"value": [api]})]
