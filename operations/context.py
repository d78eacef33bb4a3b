"""What every operation is handed: settings, store, clock, mirror, progress.

Boundary: holds adapters, opens none (flows/wiring.py does).
Invariants: an operation reads no clock and opens no store of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from contracts.digest import Digest
from contracts.document import Document
from contracts.errors import SoundcheckError
from contracts.ledger_event import Outcome
from contracts.registry_entry import RegistryEntry
from operations.settings import Settings
from registry.ledger import Ledger
from registry.mirrored import FamilyView
from registry.store import Store

log = logging.getLogger("soundcheck")

Announce = Callable[[str], None]
"""Called with a sentence a person should see now."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


class MirrorLike(Protocol):
    """The part of MLflow that operations use; a view that can be rebuilt, never authority."""

    def register(self, entry: RegistryEntry, *, family: str, release: str, at: str | None = None) -> str:
        """Create the release's model version (or find it) and return its number."""
        ...

    def record(
        self, release: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], artifacts: Mapping[str, bytes]
    ) -> None:
        """Add figures, tags and files to the release's run."""
        ...

    def point(self, family: str, alias: str, release: str | None) -> None:
        """Move an alias to the release's version; None removes it."""
        ...

    def tags(self, family: str) -> dict[str, dict[str, str]]:
        """The tags of every release that it shows, by release."""
        ...

    def read(self, family: str, on_progress: Callable[[int, int], None]) -> FamilyView:
        """All that it shows of a family."""
        ...

    def forget(self, family: str) -> None:
        """Delete all that it shows of a family."""
        ...

    def differences(self, family: str, stable_bundle: Digest | None) -> list[str]:
        """Sentences that say where the mirror differs from the pointer."""
        ...


class Context:
    """One installation at work.

    Args:
        now: gives the UTC time.
        mirror: the MLflow mirror, None where none is configured.
        progress: told how far long work has come; announce: told what a person should see now.
        appended: told the family after each ledger event; neither waits nor raises.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        now: Callable[[], datetime],
        mirror: MirrorLike | None = None,
        progress: Progress = lambda _label, _done, _total: None,
        announce: Announce = log.info,
        appended: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.now = now
        self.mirror = mirror
        self.progress = progress
        self.announce = announce
        self.appended = appended
        self._ledgers: dict[str, Ledger] = {}

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.settings.home

    def timestamp(self) -> str:
        """UTC now, ISO 8601 with `Z` and milliseconds."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def ledger(self, family: str) -> Ledger:
        """The family's ledger; what was read of it is kept."""
        if family not in self._ledgers:
            self._ledgers[family] = Ledger(self.store, family, self.appended)
        return self._ledgers[family]

    def mirrored(self, action: Callable[[MirrorLike], object]) -> None:
        """Let the mirror follow; one that is away or cannot be written is said in the log and stops nothing."""
        if self.mirror is None:
            return
        try:
            action(self.mirror)
        except SoundcheckError as error:
            log.warning("the MLflow mirror is behind: %s (soundcheck mirror rebuild brings it back)", error.what)


def once(
    context: Context,
    *,
    family: str,
    release: str,
    step: str,
    inputs: Mapping[str, Digest],
    body: Callable[[], tuple[Mapping[str, Digest], Mapping[str, JsonValue]]],
    settled: Callable[[Mapping[str, JsonValue]], bool] = lambda _facts: True,
) -> dict[str, Digest]:
    """Run a step and append its event, or return the outputs the ledger already has for these inputs.

    `body` returns the output digests and small public facts for the event. Caching, resuming and lineage are this one
    look-up: a step is done when a complete event names its inputs. Facts that are not `settled` make a fail event: it
    keeps the evidence, and the same command tries the step again.
    """
    ledger = context.ledger(family)
    for event in reversed(ledger.events()):
        same = event.release == release and event.step == step and event.outcome == "complete"
        if same and event.inputs == dict(inputs):
            log.info("%s: already in the ledger (event %d)", step, event.sequence)
            return dict(event.outputs)
    outputs, data = body()
    outcome: Outcome = "complete" if settled(data) else "fail"
    at = context.timestamp()
    ledger.append(step, outcome, at=at, release=release, inputs=inputs, outputs=outputs, data=data)
    return dict(outputs)


def put(context: Context, *documents: Document) -> Sequence[Digest]:
    """Store documents and return their digests."""
    return [context.store.put_blob(document.canonical()) for document in documents]
