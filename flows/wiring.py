"""The composition root: which adapters an installation uses.

Boundary: reads the environment and HOME/run/stack.json; opens the store; sets the variables that Prefect and MLflow
read, before they are imported.
Invariants: adapters are chosen here and nowhere else; nothing phones home.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contracts.errors import DependencyFailed
from operations.context import Announce, Context, Progress, log
from operations.settings import Settings, find_settings

if TYPE_CHECKING:
    from operations.stack import Addresses
    from registry.lineage_transport import Forwarder
    from registry.store import Store


def open_context(progress: Progress | None = None, announce: Announce | None = None) -> Context:
    """The installation of the working folder: its store, UTC clock, MLflow where the stack runs one."""
    from operations.stack import addresses, mlflow_environment
    from registry.mlflow_mirror import Mirror
    from registry.store import open_store

    settings = find_settings()
    url = addresses(settings.home).mlflow
    if url:
        os.environ.update(mlflow_environment(settings.home, url))
    store = open_store(settings.store.url, settings.home)
    forwarder = lineage_forwarder(settings, store)
    return Context(
        settings,
        store,
        lambda: datetime.now(UTC),
        Mirror(url, store_url=settings.store.url) if url else None,
        progress or (lambda _label, _done, _total: None),
        announce or log.info,
        forwarder.appended if forwarder else None,
    )


def lineage_forwarder(settings: Settings, store: Store) -> Forwarder | None:
    """What forwards ledger events to the OpenLineage collector, where one is configured."""
    url = os.environ.get("OPENLINEAGE_URL") or settings.lineage.url
    if not url:
        return None
    from registry.lineage_transport import Forwarder, http_collector

    api_key = os.environ.get("OPENLINEAGE_API_KEY", "")
    send = http_collector(url, timeout_s=settings.lineage.timeout_s, api_key=api_key)
    return Forwarder(store, settings.home / "lineage", send)


def use_prefect(settings: Settings) -> Addresses:
    """Point this process at the embedded Prefect server; call it before anything imports prefect.

    Raises DependencyFailed with the next step when no server answers.
    """
    from operations.stack import addresses, prefect_environment

    known = addresses(settings.home)
    url = known.prefect or os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    if not url or not _answers(f"{url}/api/health"):
        raise DependencyFailed(
            "the Prefect server is away",
            where=url or "no address is known",
            expected="an answer from its health check",
            next_step="soundcheck up (then run the command again; nothing is lost)",
        )
    os.environ.update(prefect_environment(settings.home, url))
    # The Prefect UI has every log line; the terminal has progress bars, the outcome, and our own errors.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    return known


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
