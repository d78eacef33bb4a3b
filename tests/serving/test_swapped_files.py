"""A swap between verify and load (fault 28): what a worker loads has the digests of the manifest, or is not loaded."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import Corrupt, WrongCall
from registry.bundle import cached, cached_bundle
from serving.bundles import Loaded, describe, given
from serving.link import connect
from serving.payload import private_copy
from serving.pool import Worker
from serving.process import WorkerSettings
from tests.serving.conftest import Home, silence
from tests.serving.test_worker_process import TINY_WORKER, digests_of

REFUSAL = "a file of the bundle is not what its manifest says, so it is not loaded"


def _say(folder: Path, words: str) -> bytes:
    """Write other words into a payload, in place, and return them."""
    file = folder / "payload" / "runtime.json"
    content = json.dumps({**json.loads(file.read_bytes()), "words": words.split()}).encode()
    file.write_bytes(content)
    return content


def _start(bundle: Path, digests: Path, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(TINY_WORKER), "--bundle", str(bundle), "--socket", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(TINY_WORKER.parent.parent.parent)}
    with digests.open("rb") as stdin:
        return subprocess.Popen(command, env=environment, stdin=stdin, stderr=subprocess.PIPE)


async def _heard(path: Path) -> str:
    while not path.exists():
        await asyncio.sleep(0.01)
    link = await connect(path)
    answer = await link.transcribe(silence(1), deadline_s=9)
    link.close()
    return answer.text


def test_a_file_that_was_swapped_after_it_was_verified_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    digest = home.bundle("swapped", "alpha bravo", "swapped")
    folder, manifest = cached_bundle(home.store, digest, tmp_path / "cache")
    (tmp_path / "digests").write_text(json.dumps(dict(describe(folder, digest, manifest).payload)))
    swapped = _say(folder, "planted words")
    with _start(folder, tmp_path / "digests", tmp_path / "w.sock") as process:
        _, said = process.communicate(timeout=20)
    expected = manifest.files["payload/runtime.json"].sha256
    assert process.returncode == 1
    assert said.decode() == (
        f"{REFUSAL}\n"
        "  where: payload/runtime.json\n"
        f"  got: sha256 {short(sha256_bytes(swapped))}\n"
        f"  expected: sha256 {short(expected)}\n"
        "  next step: the gateway restores the bundle anew and starts the worker again; restore a folder that was "
        "handed over anew yourself: soundcheck restore BUNDLE --into DIR\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "digests"]


def test_a_swap_while_the_engine_loads_has_no_effect(home: Home, tmp_path: Path) -> None:
    folder = home.folder("slow-to-load", "alpha bravo", loads=str(tmp_path / "loading"))
    digests_of(folder, tmp_path / "digests").close()
    with _start(folder, tmp_path / "digests", tmp_path / "w.sock") as process:
        try:
            while not (tmp_path / "loading").exists():  # the engine has not read its words yet
                assert process.poll() is None
                time.sleep(0.01)
            _say(folder, "planted words")
            (tmp_path / "loading").unlink()
            assert asyncio.run(_heard(tmp_path / "w.sock")) == "alpha bravo"
        finally:
            process.terminate()
        process.communicate(timeout=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digests"]


def test_a_copy_that_a_killed_worker_left_goes_when_the_next_one_starts(home: Home, tmp_path: Path) -> None:
    folder = home.folder("killed", "alpha bravo")
    digests_of(folder, tmp_path / "digests").close()
    for number in range(2):
        with _start(folder, tmp_path / "digests", tmp_path / f"{number}.sock") as process:
            asyncio.run(_heard(tmp_path / f"{number}.sock"))
            process.kill()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_a_worker_that_refuses_its_files_gets_them_anew_from_the_store(home: Home, tmp_path: Path) -> None:
    digest = home.bundle("renewed", "alpha bravo", "renewed")
    swaps = iter(["planted words"])

    async def fetch() -> Loaded:
        folder, manifest = cached_bundle(home.store, digest, tmp_path / "cache")
        loaded = describe(folder, digest, manifest)
        if words := next(swaps, None):
            _say(folder, words)
        return loaded

    async def run() -> str:
        deaths: list[str] = []
        settings = WorkerSettings(sockets=tmp_path, command=(sys.executable, str(TINY_WORKER)))
        worker = Worker(digest, fetch, settings, lambda: deaths.append(worker.error))
        answer = await worker.transcribe(silence(1), deadline_s=20)
        await worker.stop()
        assert deaths == ["exit status 1 before it was ready"]
        return answer.text

    assert asyncio.run(run()) == "alpha bravo"


def test_what_the_gateway_reads_is_what_the_manifest_names(home: Home, tmp_path: Path) -> None:
    digest = home.bundle("filters", "alpha", "filters", filters={"redact_digits_over": 5})
    folder, manifest = cached_bundle(home.store, digest, tmp_path)
    assert describe(folder, digest, manifest).filters == {"redact_digits_over": 5}
    (folder / "safety_filters.json").write_text("{}")
    with pytest.raises(Corrupt, match="a file of the bundle is not what its manifest says") as raised:
        describe(folder, digest, manifest)
    assert raised.value.where == str(folder / "safety_filters.json")
    assert describe(cached(home.store, digest, tmp_path), digest, manifest).filters == {"redact_digits_over": 5}


def _digests(folder: Path) -> dict[str, Digest]:
    return dict(given(folder, "tiny").payload)


def test_a_missing_file_and_a_link_are_refused_and_other_files_are_not_copied(home: Home, tmp_path: Path) -> None:
    folder = home.folder("odd", "alpha")
    digests = _digests(folder)
    file = folder / "payload" / "runtime.json"
    (folder / "payload" / "extra.json").write_text("{}")
    assert sorted(path.name for path in private_copy(folder / "payload", digests, tmp_path / "copy").iterdir()) == [
        "feature_contract.json",
        "runtime.json",
    ]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    file.rename(folder / "runtime.json")
    with pytest.raises(Corrupt, match="got: No such file or directory"):
        private_copy(folder / "payload", digests, tmp_path / "missing")
    file.symlink_to(folder / "runtime.json")
    with pytest.raises(Corrupt, match="got: Too many levels of symbolic links"):
        private_copy(folder / "payload", digests, tmp_path / "link")
    with pytest.raises(WrongCall, match="no digests came for the payload"):
        private_copy(folder / "payload", {}, tmp_path / "none")
