"""The deployments of prefect.yaml, served by this process: `python -m flows.serve`.

Boundary: reads prefect.yaml; talks to the Prefect server of the environment.
Invariants: prefect.yaml is the one place that says what is deployed, here and with `prefect deploy --all`.
"""

from __future__ import annotations

import importlib
from typing import Any

import yaml
from prefect import serve
from prefect.schedules import Cron

from operations.settings import find_settings


def deployments() -> list[Any]:
    """A runnable deployment for each entry of prefect.yaml."""
    entries = yaml.safe_load((find_settings().root / "prefect.yaml").read_text())["deployments"]
    return [_deployment(entry) for entry in entries]


def _deployment(entry: dict[str, Any]) -> Any:
    path, function = entry["entrypoint"].split(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    schedule = entry.get("schedule")
    return flow.to_deployment(
        name=entry["name"],
        description=entry["description"],
        parameters=entry.get("parameters", {}),
        tags=entry.get("tags", []),
        schedule=Cron(schedule["cron"], timezone=schedule["timezone"]) if schedule else None,
    )


if __name__ == "__main__":
    serve(*deployments(), pause_on_shutdown=False, print_starting_message=False)
