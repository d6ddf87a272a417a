"""What is assumed of journeys and consent. No journey is published."""

from __future__ import annotations

import json
import uuid
from typing import Any

from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.cli.outcome import NotTriedError, Outcome, accepted, names_of
from airflow_provider_cij.cli.own_rows import CONSENTS, JOURNEYS
from airflow_provider_cij.cli.probing import Organisation
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.errors import CijError

_CREATE, _VALIDATE = "msdynmkt_CreateJourneyFromTemplate", "msdynmkt_ValidateJourneyJson"
_JSON_ACTIONS = ("msdynmkt_CreateJourneyJsonFromTemplate", _VALIDATE)
_PUBLISH, _CHECK_CONSENT = "msdynmkt_PublishJourneyV2", "msdynmkt_checkconsent"
# "Extend consent", the inputs of replacement consent providers.
_CONSENT_INPUTS = {
    *("contactpoints", "purpose", "topic", "complianceprofile", "owningbusinessunit", "channeltype"),
    *("unsubscribeurlrequired", "oneclickunsubscribeurlrequired"),
}


async def _json_actions(org: Organisation) -> str:
    there = [name for name in _JSON_ACTIONS if await org.has_action(name)]
    return "there" if len(there) == 2 else f"only {there[0]}" if there else "missing"


async def _errors(org: Organisation) -> str:
    if await org.has_action(_VALIDATE):
        outcome = await org.call(_VALIDATE, {"msdynmkt_journeyjson": "{}"})
    elif org.writes:
        outcome = await _from_no_template(org)
    else:
        raise NotTriedError(f"the organisation has no {_VALIDATE}, and --write was not given")
    outcome.needed("a journey that is wrong is refused")
    return names_of(_first_error(outcome))


async def _unknown_template(org: Organisation) -> str:
    outcome = (await _from_no_template(org)).checked()
    code = _code(_first_error(outcome))
    return f"200 {code}".strip() if code.isidentifier() else outcome.word


async def _from_no_template(org: Organisation) -> Outcome:
    """Ask for a draft of a template that does not exist."""
    if not org.writes:
        raise NotTriedError("it needs --write")
    inputs = {"msdynmkt_journeytemplateid": str(uuid.uuid4()), "msdynmkt_journeyname": f"{org.name}-none"}
    outcome = await org.call(_CREATE, {**inputs, "msdynmkt_createmode": "Draft"})
    if isinstance(made := outcome.output("msdynmkt_journeyid"), str):
        org.claim(JOURNEYS, made)
    return outcome


def _first_error(outcome: Outcome) -> dict[str, Any]:
    errors = outcome.output("msdynmkt_errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        raise NotTriedError(f"no errors are listed ({outcome.nested_word})")
    return errors[0]


async def _no_errors(org: Organisation) -> str:
    """Validate templates with a live audience, until one has no errors."""
    own = await org.shared_live()
    for template in await _templates(org):
        document = json.loads(str(template.get("msdynmkt_journeytemplatejson")))
        document["trigger"] = {**document.get("trigger", {}), "audience": own.segment_id}
        outcome = await org.call(_VALIDATE, {"msdynmkt_journeyjson": json.dumps(document)})
        if outcome.ok and outcome.output("msdynmkt_isvalid") is True:
            value = outcome.body.get("msdynmkt_errors")
            return {"[]": "[]", "null": "null", "": "nothing", None: "nothing"}.get(value, outcome.nested_word)
    raise NotTriedError("no template is a valid journey")


async def _draft_with_errors(org: Organisation) -> str:
    template = (await _templates(org))[0]["msdynmkt_journeytemplateid"]
    if not org.writes:
        raise NotTriedError("it needs --write")
    changes = json.dumps({"$.trigger.audience": str(uuid.uuid4())})
    inputs = {"msdynmkt_journeytemplateid": template, "msdynmkt_journeyname": f"{org.name}-no-audience"}
    outcome = await org.call(
        _CREATE, {**inputs, "msdynmkt_createmode": "Draft", "msdynmkt_jsonpathmodifications": changes}
    )
    made = outcome.output("msdynmkt_journeyid")
    if isinstance(made, str):
        org.claim(JOURNEYS, made)
    outcome.checked()
    valid = outcome.output("msdynmkt_isvalid") is True
    return "not created" if not made else "created, valid" if valid else "created"


async def _json_answer(org: Organisation) -> str:
    template = (await _templates(org))[0]["msdynmkt_journeytemplateid"]
    return (await org.call(_JSON_ACTIONS[0], {"msdynmkt_journeytemplateid": template})).word


async def _path_finds_nothing(org: Organisation) -> str:
    template = (await _templates(org))[0]["msdynmkt_journeytemplateid"]
    changes = json.dumps({"$.cijprobe": "none"})
    inputs = {"msdynmkt_journeytemplateid": template, "msdynmkt_jsonpathmodifications": changes}
    outcome = (await org.call(_JSON_ACTIONS[0], inputs)).checked()
    errors = outcome.output("msdynmkt_errors") or []
    codes = [_code(error) for error in errors if isinstance(error, dict)]
    if "InvalidJsonPath" in codes or not outcome.output("msdynmkt_journeyjson"):
        return next((code for code in codes if code == "InvalidJsonPath"), "") or ", ".join(codes)
    return "ignored"


async def _templates(org: Organisation) -> list[dict[str, Any]]:
    select = ("msdynmkt_journeytemplateid", "msdynmkt_journeytemplatejson")
    found = await org.rows(query("msdynmkt_journeytemplates", select=select, top=5))
    if not found:
        raise NotTriedError("there is no journey template")
    return found


def _code(error: dict[str, Any]) -> str:
    return next((str(value) for name, value in error.items() if name.lower() == "errorcode"), "")


async def _publish_input(org: Organisation) -> str:
    return await _inputs(org, _PUBLISH) or "missing"


async def _same_name(org: Organisation) -> str:
    row = {"msdynmkt_name": f"{org.name}-twice", "msdynmkt_journeyjson": "{}", "msdynmkt_triggertype": 2}
    _, first = await org.make(JOURNEYS, row)
    first.needed("a draft journey can't be made")
    return accepted((await org.make(JOURNEYS, row))[1])


async def _check_action(org: Organisation) -> str:
    inputs = await _inputs(org, _CHECK_CONSENT)
    if not inputs:
        return "missing"
    return "there" if set(inputs.split(", ")) == _CONSENT_INPUTS else f"there, with {inputs}"


async def _inputs(org: Organisation, action: str) -> str:
    """Return the names of the inputs of an action, ``""`` for one that is not there."""
    try:
        names = sorted(str(row.get("uniquename")) for row in await inputs_of(org.client, action))
    except CijError:
        names = []
    if not names and await org.has_action(action):
        raise NotTriedError(f"{action} is there, and its inputs can't be read")
    return ", ".join(names)


async def _same_address(org: Organisation) -> str:
    purposes = await org.rows(query("msdynmkt_purposes", select=("msdynmkt_purposeid",), top=1))
    if not purposes:
        raise NotTriedError("there is no purpose")
    row = {
        "msdynmkt_contactpointvalue": f"{org.name}@example.invalid",
        "msdynmkt_contactpointtype": 534120000,
        "msdynmkt_contactpointconsenttype": 534120000,
        "msdynmkt_value": 534120000,
        "msdynmkt_source": 534120000,
        "msdynmkt_logicalreason": 534119999,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({purposes[0]['msdynmkt_purposeid']})",
    }
    _, first = await org.make(CONSENTS, row)
    first.needed("a consent can't be made")
    return accepted((await org.make(CONSENTS, row))[1])


PROBES = {
    "journeys.json-actions": _json_actions,
    "journeys.errors": _errors,
    "journeys.no-errors": _no_errors,
    "journeys.draft-with-errors": _draft_with_errors,
    "journeys.json-answer": _json_answer,
    "journeys.path-finds-nothing": _path_finds_nothing,
    "journeys.unknown-template": _unknown_template,
    "journeys.publish-input": _publish_input,
    "journeys.same-name": _same_name,
    "consent.check-action": _check_action,
    "consent.same-address": _same_address,
}
