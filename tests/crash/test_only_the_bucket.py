"""Everything is lost but the bucket: a new machine restores any bundle that was stable, and says what was said (S4).

No home folder, no HOME, no MLflow, Prefect, DVC cache, candidates, packs or keys: params.yaml and credentials are all.
That the mirror comes back equal too is shown by tests/flows/test_mirror.py::test_a_lost_mirror_comes_back_equal.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from operations.context import Context
from registry.bundle import load_manifest, verify_folder
from registry.store.s3 import S3Store
from tests.crash.conftest import Told, tell_at_end
from tests.flows.release_project import FAMILY, command
from tests.servers.seaweed import SERVING, S3Server


class NewMachine:
    """A folder with params.yaml alone, and the serving identity's credentials: it may read."""

    def __init__(self, folder: Path, params: Path, url: str, server: S3Server) -> None:
        self.root = folder / "machine"
        self.root.mkdir()
        said = yaml.safe_load(params.read_text()) | {"store": {"url": url}}
        (self.root / "params.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        places = {"SOUNDCHECK_ROOT": str(self.root), "SOUNDCHECK_HOME": str(folder / "new"), "HOME": str(folder / "me")}
        self._environment = {**inherited, **server.environment(SERVING), **places, "NO_COLOR": "1"}

    def soundcheck(self, *words: str) -> str:
        """What a command prints; it must succeed."""
        answer = subprocess.run(
            command(*words), cwd=Path(__file__).parents[2], env=self._environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout


def _ledger_says(context: Context) -> list[tuple[str, str]]:
    return [(move.version, move.bundle) for move in context.ledger(FAMILY).state().history]


def test_any_stable_bundle_is_restored_and_the_same_is_said(
    story: Told, bucket: S3Store, s3_server: S3Server, tmp_path: Path
) -> None:
    prefix = secrets.token_hex(8)
    store = S3Store(bucket.client, bucket.bucket, prefix)
    context = story.chapters["back"].begin(story.project, tmp_path / "lost", store)
    released = _ledger_says(context)
    shutil.rmtree(tmp_path / "lost")
    machine = NewMachine(tmp_path, story.project / "params.yaml", f"s3://{bucket.bucket}/{prefix}", s3_server)
    assert [version for version, _ in released] == ["v1", "v2", "v4"]
    for version, bundle in released:
        machine.soundcheck("restore", bundle, "--into", str(tmp_path / version))
        assert verify_folder(tmp_path / version, load_manifest(store, bundle)) == []
    said: dict[str, Any] = json.loads(machine.soundcheck("status", FAMILY, "--json"))
    assert said["stable"]["bundle"] == released[-1][1]
    assert [(move["version"], move["bundle"]) for move in said["history"]] == released
    machine.soundcheck("verify", FAMILY)
    tell_at_end(f"s3 alone: {len(released)} bundles restored bit for bit by a machine with nothing but the bucket")
