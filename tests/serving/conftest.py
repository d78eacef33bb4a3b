"""A home folder with a store, keys and tiny bundles; gateways over them are started once a session."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from contracts.digest import Digest
from contracts.feature_contract import FeatureContract
from contracts.routing import CanaryRoute, RouteTable
from registry.bundle import assemble, freeze
from registry.store import Store, open_store
from serving.client import RunningGateway, start_gateway

TINY_GATEWAY = (sys.executable, str(Path(__file__).with_name("tiny_gateway.py")))
RATE_HZ = 16_000

CONTRACT = FeatureContract(
    sample_rate_hz=RATE_HZ,
    accepted_rates_hz=(RATE_HZ, 8_000),
    normalisation="none",
    text_normalizer="none",
    tokenizer="words",
    front_end_checksum="0" * 64,
)

Samples = np.ndarray[Any, Any]


def wav(samples: Samples, rate_hz: int = RATE_HZ, *, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def silence(seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    return np.zeros(int(seconds * rate_hz), dtype=np.float32)


def with_command(command: float, seconds: float = 1.0) -> Samples:
    samples = silence(seconds)
    samples[100] = command
    return samples


class Home:
    """An installation's home folder in a test."""

    key = "sk-planted-key-7731"
    tenant_key = "sk-acme-key"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Store = open_store("file://store", root)
        entries = {
            hashlib.sha256(self.key.encode()).hexdigest(): {"name": "tests", "tenant": "*"},
            hashlib.sha256(self.tenant_key.encode()).hexdigest(): {"name": "acme-app", "tenant": "acme"},
        }
        (root / "api_keys.json").write_text(json.dumps({"keys": entries}))
        self._tables = 0

    def folder(self, name: str, words: str, *, filters: dict[str, Any] | None = None, **more: Any) -> Path:
        folder = self.root / "made" / name
        (folder / "payload").mkdir(parents=True)
        runtime = {"engine": "tiny", "words": words.split(), "marker": str(self.root / f"{name}.crashed"), **more}
        (folder / "payload" / "runtime.json").write_text(json.dumps(runtime))
        (folder / "payload" / "feature_contract.json").write_bytes(CONTRACT.canonical())
        if filters is not None:
            (folder / "safety_filters.json").write_text(json.dumps(filters))
        return folder

    def bundle(self, name: str, words: str, family: str, **more: Any) -> Digest:
        folder = self.folder(name, words, **more)
        return freeze(self.store, folder, assemble(folder, family=family, version=name))

    def point(
        self,
        family: str,
        stable: Digest | None,
        *,
        canary: CanaryRoute | None = None,
        warm: tuple[Digest, ...] = (),
        **more: Any,
    ) -> RouteTable:
        self._tables += 1
        table = RouteTable(
            family=family, version=self._tables, stable=stable, canary=canary, warm=warm, ledger_sequence=self._tables,
            ledger_head="0" * 64, moved_at="2026-11-20T00:00:00Z", actor="test", reason="test", **more,
        )  # fmt: skip
        name = f"families/{family}"
        seen = self.store.pointer(name)
        self.store.swap(name, table.canonical(), expected=seen.version if seen else None)
        return table


StartGateway = Callable[..., AbstractContextManager[RunningGateway]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def start_tiny() -> StartGateway:
    return partial(start_gateway, command=TINY_GATEWAY)


@pytest.fixture(scope="session")
def pinned(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway that serves `tiny` from a folder: words alpha bravo charlie; digit runs over five are redacted."""
    folder = home.folder("pinned", "alpha bravo charlie")
    private = home.folder("private", "call four one five five five one nine", filters={"redact_digits_over": 5})
    options = ("--deadline-s", "2", "--queue-limit", "4", "--drain-s", "3")
    with start_tiny(home.root, serve={"tiny": folder, "private": private}, options=options) as gateway:
        yield gateway


TASKS = ("synthesis", "embedding", "classification", "dialogue")


@pytest.fixture(scope="session")
def tasks(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway that serves a family of each task, called like its task, and `tiny`, which transcribes."""
    serve = {task: home.folder(f"task-{task}", "alpha bravo charlie", task=task) for task in TASKS}
    options = ("--deadline-s", "3", "--queue-limit", "8", "--drain-s", "3")
    with start_tiny(
        home.root, serve={**serve, "tiny": home.folder("beside-tasks", "alpha bravo")}, options=options
    ) as gateway:
        yield gateway
