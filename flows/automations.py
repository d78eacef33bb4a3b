"""The automations of automations.yaml on a Prefect server: applied, compared, listed.

Boundary: reads automations.yaml; talks to the Prefect server of the environment.
Invariants: automations.yaml is the one place that says what happens by itself; applying it twice changes nothing; one
that a person paused stays paused; what is applied bears PREFIX, and nothing without it is ever touched; an automation
whose deployment is not there is an error, never left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import ActionTypes, RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from contracts.document import Part
from contracts.errors import DependencyFailed, NotFound, WrongCall

FILE = "automations.yaml"
PREFIX = "soundcheck "
"""How the names of our automations begin on the server."""
BLOCK = "soundcheck-"
"""How the names of the notification blocks begin; `page` or `ticket` follows."""

Change = Literal["created", "updated", "unchanged", "deleted"]


class Run(Part):
    """Which deployment (FLOW/NAME) is run, with which parameters; these may hold Prefect's templates."""

    deployment: str
    parameters: dict[str, Any] = {}


class Definition(Part):
    """One entry of automations.yaml."""

    name: str
    description: str
    trigger: dict[str, Any]
    run: Run
    notify: Literal["page", "ticket"]

    def trigger_on_server(self) -> EventTrigger:
        """The trigger as Prefect has it."""
        return EventTrigger.model_validate({"type": "event", **self.trigger})


class Entries(Part):
    """automations.yaml as a whole; each entry is read by itself, so that an error names it."""

    automations: tuple[dict[str, Any], ...]


class Listed(NamedTuple):
    """An automation as it stands: of the file, of the server, or both; `calls` is the block that calls somebody."""

    name: str
    state: Literal["active", "paused", "changed", "not applied", "not in the file"]
    when: str
    runs: str
    calls: str


def definitions(root: Path) -> list[Definition]:
    """What automations.yaml says; raises NotFound without the file, WrongCall naming the entry that is wrong."""
    path = root / FILE
    if not path.is_file():
        raise NotFound("there is no automations.yaml", where=str(root), expected="a file beside prefect.yaml",
                       next_step="take it from the repository")  # fmt: skip
    try:
        entries = Entries.model_validate(yaml.safe_load(path.read_text())).automations
    except (yaml.YAMLError, ValidationError) as error:
        raise _unreadable("the file", str(error).splitlines()[0]) from None
    found: dict[str, Definition] = {}
    for entry in entries:
        name = str(entry.get("name", "an entry without a name"))
        if name in found:
            raise _unreadable(name, "a second entry of this name")
        try:
            definition = Definition.model_validate(entry)
            definition.trigger_on_server()
        except ValidationError as error:
            first = error.errors()[0]
            raise _unreadable(": ".join((name, *(str(part) for part in first["loc"]))), first["msg"]) from None
        found[name] = definition
    return list(found.values())


def _unreadable(where: str, got: str) -> WrongCall:
    return WrongCall(
        "an automation cannot be read",
        where=f"{FILE}: {where}",
        got=got,
        expected="entries of automations, each with name, description, trigger, run and notify (docs/automations.md)",
        next_step=f"correct {FILE}, then soundcheck automations apply",
    )


def apply(client: SyncPrefectClient, root: Path) -> dict[str, Change]:
    """Make the server have what the file says, and no other automation of ours; what was done, by name.

    Raises NotFound for a deployment that the server does not have.
    """
    wanted = {definition.name: _as_core(client, definition) for definition in definitions(root)}
    done: dict[str, Change] = {}
    present = _ours(client)
    for name, core in wanted.items():
        known = present.get(name)
        if known is None:
            client.create_automation(core)
            done[name] = "created"
        elif _same(known, core):
            done[name] = "unchanged"
        else:
            client.update_automation(known.id, core.model_copy(update={"enabled": known.enabled}))
            done[name] = "updated"
    for name in sorted(present.keys() - wanted.keys()):
        client.delete_automation(present[name].id)
        done[name] = "deleted"
    return done


def listed(client: SyncPrefectClient, root: Path) -> list[Listed]:
    """The automations of the file and of the server, in the file's order."""
    present, rows = _ours(client), []
    for definition in definitions(root):
        known = present.pop(definition.name, None)
        core = _as_core(client, definition)
        if known is None:
            state: Literal["active", "paused", "changed", "not applied"] = "not applied"
        elif not _same(known, core):
            state = "changed"
        else:
            state = "active" if known.enabled else "paused"
        calls = next((BLOCK + definition.notify for one in core.actions if isinstance(one, SendNotification)), "nobody")
        rows.append(Listed(definition.name, state, when(definition), definition.run.deployment, calls))
    return rows + [Listed(name, "not in the file", "", "", "") for name in sorted(present)]


def call_webhook(whom: str, url: str) -> None:
    """Make the notification block that calls a webhook (POST, {"subject", "body"}) for a page or a ticket."""
    said = {"subject": "{{subject}}", "body": "{{body}}"}
    block = CustomWebhookNotificationBlock(name=BLOCK + whom, url="{{url}}", json_data=said, secrets={"url": url})
    block.save(BLOCK + whom, overwrite=True)


def when(definition: Definition) -> str:
    """A trigger in words."""
    trigger = definition.trigger_on_server()
    seconds, events = f"{trigger.within.total_seconds():g} s", " or ".join(sorted(trigger.expect))
    if trigger.posture.name == "Proactive":
        return f"no {events} within {seconds} after {' or '.join(sorted(trigger.after))}"
    return f"{events}, once in {seconds}"


def _ours(client: SyncPrefectClient) -> dict[str, Automation]:
    found: list[Automation] = []
    while page := client.read_automations(offset=len(found)):
        found += page
    return {one.name.removeprefix(PREFIX): one for one in found if one.name.startswith(PREFIX)}


def _as_core(client: SyncPrefectClient, definition: Definition) -> AutomationCore:
    """The automation as the server is to have it: deployments and blocks by their ids."""
    try:
        deployment = client.read_deployment_by_name(definition.run.deployment)
    except ObjectNotFound:
        raise NotFound(
            "an automation runs a deployment that is not there",
            where=f"{FILE}: {definition.name}",
            got=definition.run.deployment,
            expected="FLOW/NAME of a deployment that the Prefect server has",
            next_step="soundcheck up (or prefect deploy --all on a server of your own), then apply again",
        ) from None
    actions: list[ActionTypes] = [RunDeployment(deployment_id=deployment.id, parameters=definition.run.parameters)]
    if block := _block(client, BLOCK + definition.notify):
        actions.append(
            SendNotification(
                block_document_id=block,
                subject=f"{definition.notify}: {definition.name}: {{{{ event.resource['soundcheck.family'] }}}}",
                body=f"{definition.description}\n{{{{ event.event }}}} {{{{ event.payload | tojson }}}}",
            )
        )
    return AutomationCore(
        name=PREFIX + definition.name,
        description=definition.description,
        trigger=definition.trigger_on_server(),
        actions=actions,
    )


def _block(client: SyncPrefectClient, name: str) -> Any:
    """The id of the notification block with this name, whatever its type; None where there is none."""
    documents: list[Any] = []
    while page := client.read_block_documents(offset=len(documents), limit=100, include_secrets=False):
        documents += page
    found = [one for one in documents if one.name == name]
    for one in found:
        if one.block_schema is not None and "notify" in one.block_schema.capabilities:
            return one.id
    if found:
        raise DependencyFailed(
            "a block of this name notifies nobody",
            where=name,
            got=found[0].block_type_name or "a block of another kind",
            expected="a notification block",
            next_step="make it again with `soundcheck automations notify`",
        )
    return None


def _same(known: Automation, wanted: AutomationCore) -> bool:
    return _essence(known) == _essence(wanted)


def _essence(automation: AutomationCore) -> dict[str, Any]:
    """What applying compares: everything but what the server adds, and whether a person paused it."""
    dumped: dict[str, Any] = automation.model_dump(mode="json", include={"name", "description", "trigger", "actions"})
    for of in ("after", "expect", "for_each"):  # sets: their order says nothing
        dumped["trigger"][of] = sorted(dumped["trigger"].get(of, ()))
    return dumped
