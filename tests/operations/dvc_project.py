"""A small project whose data DVC holds: a stage that makes speech, a stage that trains on it; made by DVC itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from contracts.train_manifest import DataSummary, DvcLineage
from operations.candidate import Candidate
from operations.context import Context
from operations.data_lineage import trace
from operations.settings import Settings
from registry.store import Store
from registry.store.memory import MemoryStore

FAMILY = "asr-commands"
DATA = "data/corpus"
CANDIDATE = f"candidates/{FAMILY}/v1"
CLIPS = 6

_MAKE = """
import hashlib, pathlib, random, wave
import pandas as pd
folder = pathlib.Path("data/corpus")
(folder / "audio").mkdir(parents=True, exist_ok=True)
rows, noise = [], random.Random(7)
for number in range({clips}):
    path = folder / "audio" / f"clip-{{number}}.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(noise.randbytes(4000))
    rows.append({{"utterance_id": f"u{{number}}", "path": f"audio/clip-{{number}}.wav",
                 "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}})
pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
"""
_TRAIN = f"""
import pathlib, shutil
for version in ("v1", "v2"):
    folder = pathlib.Path("candidates/{FAMILY}") / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("weights of " + version)
    shutil.copyfile("data/corpus/manifest.parquet", folder / "data_manifest.parquet")
"""
_PIPELINE = f"""
stages:
  corpus:
    cmd: {sys.executable} make.py
    deps: [make.py]
    outs: [{DATA}]
  train:
    cmd: {sys.executable} train.py
    deps: [train.py, words.txt, {DATA}]
    outs: [candidates/{FAMILY}/v1, candidates/{FAMILY}/v2]
"""


def environment(folder: Path) -> dict[str, str]:
    """What keeps DVC to itself."""
    names = ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    return {"DVC_NO_ANALYTICS": "1"} | {name: str(folder / "dvc" / name.lower()) for name in names}


def make_dvc_project(root: Path) -> Path:
    """The project, trained: dvc.lock is DVC's own."""
    root.mkdir(parents=True)
    files = {
        "make.py": _MAKE.format(clips=CLIPS),
        "train.py": _TRAIN,
        "dvc.yaml": _PIPELINE,
        "words.txt": "start\nstop\n",
        "params.yaml": json.dumps({"store": {"url": "file://store"}, "defaults": {}, "families": {FAMILY: {}}}),
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "/data/\n/candidates/\n/words.txt\n",
    }
    for name, content in files.items():
        (root / name).write_text(content)
    words: Iterator[list[str]] = iter(
        [["git", "init", "--quiet"], *([sys.executable, "-m", "dvc", *step] for step in _STEPS)]
    )
    for command in words:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, **environment(root.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return root


_STEPS = (["init", "--quiet"], ["add", "--quiet", "words.txt"], ["repro", "--quiet"])


def context_of(root: Path, store: Store | None = None) -> Context:
    """The project's installation."""
    return Context(Settings(root, root / ".soundcheck"), store or MemoryStore(), lambda: datetime.now(UTC))


def candidate(version: str = "v1", **provenance: str) -> Candidate:
    """What candidate.yaml of a version says."""
    return Candidate(
        family=FAMILY, version=version, origin="own", base_model="none", licence="CC0-1.0", languages=("en",),
        training_code_sha="0" * 40, provenance=dict(provenance),
    )  # fmt: skip


def data_manifest(root: Path) -> pd.DataFrame:
    """The candidate's data manifest."""
    return pd.read_parquet(root / CANDIDATE / "data_manifest.parquet")


def lineage(context: Context, frame: pd.DataFrame | None = None) -> DvcLineage:
    """The lineage of the candidate, verified."""
    root = context.settings.root
    found = trace(context, root / CANDIDATE, candidate(), data_manifest(root) if frame is None else frame)
    assert found is not None
    return found


def summary(context: Context) -> DataSummary:
    """The data manifest as a train manifest has it; its rows are in the store."""
    frame = data_manifest(context.settings.root)
    return DataSummary(
        digest=context.store.put_blob(context.settings.root / CANDIDATE / "data_manifest.parquet"),
        label_digest="0" * 64, utterances=len(frame), hours=0.1, speakers=1, languages=("en",), licences=("CC0-1.0",),
    )  # fmt: skip
