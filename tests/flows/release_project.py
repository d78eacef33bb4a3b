"""A project of its own for tests: a clean git work tree with the real candidates and a part of the real pack.

The candidates are the ones that training made (`make train`); the pack is every so many utterances of `commands`, with
the support that its gates ask for lowered in the same measure, so that a release takes seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from evalpacks.pack import load, write
from operations import pointer
from operations.approve import waiting_evidence
from operations.context import Context
from operations.settings import Settings
from registry.store import open_store

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = "asr-commands"
EVERY = 6
"""One utterance in so many is kept."""


def make_project(root: Path, *, every: int = EVERY, **changes: Any) -> Path:
    """A project folder; `changes` go over the family's section of params.yaml."""
    candidates = REPOSITORY / "candidates" / FAMILY
    if not (candidates / "v2" / "candidate.yaml").is_file():
        raise AssertionError("the candidates are not trained; next step: make train")
    root.mkdir(parents=True, exist_ok=True)
    for name in ("requirements.lock", "prefect.yaml", "automations.yaml"):
        shutil.copyfile(REPOSITORY / name, root / name)
    shutil.copytree(candidates, root / "candidates" / FAMILY)
    (root / "params.yaml").write_text(yaml.safe_dump(_params(**changes), sort_keys=False))
    (root / ".gitignore").write_text("candidates\ndata\n.soundcheck\n")
    part_of_pack(REPOSITORY / "data" / "packs" / "commands", root / "data" / "packs" / "commands", every)
    commit(root)
    return root


def _params(**changes: Any) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    family = params["families"][FAMILY]
    for gate in family["quality"]:
        limit = 0.001 if gate["metric"] == "intent_recall" else 1.5  # a floor, where higher is better
        gate.update({"min_speakers": 4, "min_support": 10, "margin": 0.5, "limit": limit})
    params["defaults"]["statistics"]["stream_utterances"] = 60
    slow = dict.fromkeys(
        ("final_p95_ms", "first_partial_p95_ms", "first_stable_p95_ms", "final_p95_regression_ms"), 20_000
    )
    family["serving"] = {**family["serving"], **slow, "rtf": 20, "cost_regression": 20}
    family["canary"]["metrics"]["latency_ms"].update({"budget": 20_000, "quantile": 0.5})  # settles within few sessions
    family["canary"]["metrics"]["wer"]["margin"] = 0.5
    family["canary"]["slices"] = []
    family["staging"] = {"requests": 12, "golden_fixtures": 4, "soak_requests": 0, "long_audio_s": 5}
    family.update(changes)
    return params


def part_of_pack(source: Path, target: Path, every: int) -> None:
    """Every so many utterances of a pack, as a pack of its own."""
    pack = load(source)
    part = pack.utterances.iloc[::every].reset_index(drop=True)
    (target / "audio").mkdir(parents=True)
    for path in part["path"]:
        shutil.copyfile(source / path, target / path)
    meta = yaml.safe_load((source / "pack.yaml").read_text())
    meta["protected"] = [name for name in meta["protected"] if "&" not in name]
    write(target, meta, pd.DataFrame(part))


def commit(root: Path) -> None:
    """Commit everything, at a fixed time: equal projects have equal commits, so that bundles can be compared."""
    author = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
    when = "2026-01-01T00:00:00Z"
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    dates = {**os.environ, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    subprocess.run(["git", *author, "commit", "--quiet", "--message", "project"], cwd=root, check=True, env=dates)


def environment(root: Path) -> dict[str, str]:
    """The environment of a person in this project: its own home, nothing of the caller's Prefect or MLflow."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return {**clean, "SOUNDCHECK_ROOT": str(root), "SOUNDCHECK_HOME": str(root / ".soundcheck"), "NO_COLOR": "1"}


def command(*words: str) -> list[str]:
    """`soundcheck WORDS` for subprocess."""
    return [sys.executable, "-m", "flows.cli", *words]


def soundcheck(root: Path, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*words), cwd=root, env=environment(root), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def status(root: Path) -> dict[str, Any]:
    """`soundcheck status asr-commands --json`."""
    answer = soundcheck(root, "status", FAMILY, "--json")
    assert answer.returncode == 0, answer.stderr
    value: dict[str, Any] = json.loads(answer.stdout)
    return value


def digests(folder: Path) -> dict[str, bytes]:
    """Every file's content, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def context_of(root: Path) -> Context:
    """The project's installation, without a mirror, for looking at it from the test's process."""
    settings = Settings(root, root / ".soundcheck")
    return Context(settings, open_store(settings.store.url, settings.home), lambda: datetime.now(UTC))


class Company:
    """What a release needs around it: traffic while a canary is routed, and a signature when evidence waits."""

    def __init__(self, root: Path, *, sign_with: str | None) -> None:
        self._root = root
        self._key = sign_with
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._play, daemon=True),
            threading.Thread(target=self._sign, daemon=True),
        ]

    def __enter__(self) -> Company:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _play(self) -> None:
        context, seed = context_of(self._root), 0
        while not self._over.wait(0.2):
            table = pointer.current(context, FAMILY).table
            if table is not None and table.canary is not None:
                seed += 1
                soundcheck(self._root, "traffic", FAMILY, "--seconds", "6", "--cadence", "0", "--seed", str(seed))

    def _sign(self) -> None:
        context = context_of(self._root)
        while self._key and not self._over.wait(0.2):
            evidence = waiting_evidence(context, FAMILY)
            if evidence:
                words = ("--key", self._key, "--evidence", evidence, "--decision", "promote")
                answer = soundcheck(self._root, "approve", FAMILY, *words)
                assert answer.returncode == 0, answer.stderr
