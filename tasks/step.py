"""How a step becomes a Prefect task: its name, no caching but the ledger's, its artifact.

Boundary: Prefect; no decisions.
Invariants: results are never cached by Prefect (an effect that is skipped because of a stale cache key would be a lie);
the ledger says what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from contracts.errors import DependencyFailed
from operations.context import Context
from operations.view import release_view
from pages.steps import artifact


def step(name: str, *, retries: int = 0) -> Callable[[Callable[..., Any]], Any]:
    """A task named after its step; a dependency that fails is tried again, nothing else is."""

    def retry_condition(_task: object, _run: object, state: Any) -> bool:
        return isinstance(state.result(raise_on_failure=False), DependencyFailed)

    return task(
        name=name, cache_policy=NO_CACHE, persist_result=False, log_prints=False,
        retries=retries, retry_delay_seconds=2, retry_condition_fn=retry_condition if retries else None,
    )  # fmt: skip


def publish(context: Context, family: str, release: str, name: str) -> None:
    """The step's artifact in Prefect, from the documents that the ledger names."""
    view = release_view(context, family, release)
    create_markdown_artifact(
        key=f"{family}-{name}", markdown=artifact(name, view), description=f"{family} {view.version}: {name}"
    )
