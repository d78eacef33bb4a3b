"""The deployments of prefect.yaml, served by this process, and the automations that run them: `python -m flows.serve`.

Boundary: reads prefect.yaml; talks to the Prefect server of the environment.
Invariants: prefect.yaml is the one place that says what is deployed, here and with `prefect deploy --all`; deployments
are there before the automations that run them; without its automations nothing is served, since nobody would stop a
canary that is not watched.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.schedules import Schedule

from flows import automations
from operations.settings import find_settings

log = logging.getLogger("soundcheck")


def deployments(root: Path) -> list[Any]:
    """A runnable deployment for each entry of prefect.yaml."""
    return [_deployment(entry) for entry in yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]]


def _deployment(entry: dict[str, Any]) -> Any:
    path, function = entry["entrypoint"].split(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    limit = entry.get("concurrency_limit")
    return flow.to_deployment(
        name=entry["name"],
        description=entry["description"],
        parameters=entry.get("parameters", {}),
        tags=entry.get("tags", []),
        schedule=_schedule(entry["schedule"]) if "schedule" in entry else None,
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
    )


def _schedule(entry: dict[str, Any]) -> Schedule:
    """A `cron`, or an `interval` in seconds."""
    interval_s = entry.get("interval")
    return Schedule(
        cron=entry.get("cron"),
        interval=timedelta(seconds=interval_s) if interval_s else None,
        timezone=entry["timezone"],
    )


def main() -> None:
    """Register all deployments, apply all automations, and run what is due until this process is ended."""
    root = find_settings().root
    runner = Runner(pause_on_shutdown=False)
    for deployment in deployments(root):
        runner.add_deployment(deployment)
    with get_client(sync_client=True) as client:
        done = automations.apply(client, root)
    log.info("automations: %s", ", ".join(f"{name} {change}" for name, change in done.items()))
    with suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())


if __name__ == "__main__":
    main()
