"""The store alone can serve a bundle (R5.6): a gateway in a new environment, made of restored wheels alone.

A real candidate is packaged with `store.wheels`; pip gathers what its lock pins from where it is configured to look.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.bundle import Golden
from contracts.digest import Digest
from operations.capture import capture
from operations.context import Context
from operations.gate import gate
from operations.keys import ensure_api_key
from operations.package import package
from operations.register import register
from operations.score import score
from operations.shards import here
from operations.wheels import INSTALL, SERVING
from serving.client import start_gateway, transcribe
from tests.flows.release_project import FAMILY, REPOSITORY, commit, context_of, make_project, soundcheck

OTHER_PARTS = (
    "import onnxruntime, pocketsphinx, speech.runtimes.moonshine, speech.runtimes.pocketsphinx, registry.store.s3, "
    "registry.signing, registry.envelopes, flows.cli, flows.commands.servers, operations.settings"
)
"""What another family, a store in a bucket and `soundcheck serve` load."""
FOREIGN = re.compile(r"/\S*(?:site|dist)-packages/")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose releases keep wheels."""
    root = make_project(tmp_path / "project", every=24)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["store"]["wheels"] = True
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit(root)
    return root


def _packaged(context: Context) -> Digest:
    """A release up to its bundle."""
    captured = capture(context, FAMILY, "v1")
    registered = register(context, FAMILY, captured)
    scored = score(context, FAMILY, captured, here(context.settings))
    gated = gate(context, FAMILY, captured, scored)
    return package(context, FAMILY, captured, registered, scored, gated)["bundle"]


def _restored(root: Path, bundle: Digest, folder: Path) -> dict[str, Any]:
    """`soundcheck restore` where pip is no longer told of any index."""
    answer = soundcheck(
        root, "restore", bundle, "--into", str(folder / "bundle"), "--with-wheels", str(folder / "wheels"), "--json"
    )
    assert answer.returncode == 0, answer.stderr
    done: dict[str, Any] = json.loads(answer.stdout)
    return done


def _environment(folder: Path) -> Path:
    """The interpreter of a new environment with the wheels of a folder."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    words = INSTALL.format(folder=folder / "wheels").split()
    subprocess.run([str(python), "-m", *words, "--quiet", "--disable-pip-version-check"], check=True)
    return python


def _packages_of(process: int) -> set[str]:
    """Folders of installed packages from which a process has loaded code."""
    maps = Path(f"/proc/{process}/maps").read_text()
    return {match.group() for match in FOREIGN.finditer(maps)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_restored_bundle_is_served_from_restored_wheels_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = _packaged(context_of(project))
    done = _restored(project, bundle, tmp_path)
    assert done["whole"]
    assert done["wheels"]["files"] > len(SERVING)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(REPOSITORY)  # our own code is the checkout's; everything else must come from the wheels
    python = _environment(tmp_path)
    subprocess.run([str(python), "-c", OTHER_PARTS], check=True)
    folder = tmp_path / "bundle"
    golden = Golden.parse((folder / "golden" / "golden.json").read_bytes(), where="golden.json")
    home = tmp_path / "home"
    key = ensure_api_key(home, "tests")
    command = (str(python), "-m", "serving.gateway")
    with start_gateway(home, serve={FAMILY: folder}, command=command) as gateway:
        (worker,) = gateway.status()["families"][FAMILY]["workers"].values()
        for fixture in golden.fixtures:
            audio = (folder / "golden" / fixture.audio).read_bytes()
            assert transcribe(gateway.base_url, audio, FAMILY, key).text == fixture.text
        loaded = _packages_of(gateway.pid) | _packages_of(worker["pid"])
    assert {str(Path(path).parents[2]) for path in loaded} == {str(tmp_path / "venv")}
