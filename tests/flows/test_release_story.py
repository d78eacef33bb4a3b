"""The main job on real servers: v1 approved by a signature, v2 approved in the Prefect form, and back again.

One stack, one project; the tests read what the story left behind and go on with it, in their order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from contracts.bundle import BundleManifest
from operations import pointer
from operations.approve import waiting_evidence
from operations.release import STEPS
from operations.settings import Settings
from operations.stack import addresses, running
from registry.documents import get_document
from tests.flows import planted
from tests.flows.release_project import (
    FAMILY,
    Company,
    command,
    context_of,
    digests,
    environment,
    soundcheck,
    status,
)

pytestmark = pytest.mark.timeout(900)  # two whole releases with their canaries, on a machine that may be busy

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def released(served: Path) -> Path:
    """v1 is stable, approved by a signature from the terminal; the pack that judged it is private."""
    planted.plant(served / "data" / "packs" / "commands")
    with Company(served, sign_with="anna"):
        answer = soundcheck(served, "release", FAMILY, "--candidate", "v1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "asr-commands v1  ->  first release, approved by anna" in answer.stdout
    return served


@pytest.fixture(scope="module")
def twice(released: Path) -> Path:
    """v2 is stable, approved by a person (a browser) in the Prefect form."""
    with Company(released, sign_with=None):
        release = subprocess.Popen(
            command("release", FAMILY, "--candidate", "v2"), cwd=released, env=environment(released),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert release.stderr is not None
            form = _form_address(release.stderr)
            _fill_form(form)
            out, err = release.communicate(timeout=240)
        finally:
            release.kill()
            release.wait()
    assert release.returncode == 0, out + err
    assert "asr-commands v2  ->  canary passed, approved by r.manager" in out
    return released


def _form_address(lines: Iterator[str]) -> str:
    for line in lines:
        if line.strip().startswith("form"):
            return line.split()[1]
    raise AssertionError("the release never asked for approval")


def _fill_form(address: str) -> None:
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        except Exception as error:
            raise AssertionError("the browser tests need Chromium; next step: make browser") from error
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        _answer(page, _open_form(page, address))
        browser.close()


def _open_form(page: Page, address: str) -> Locator:
    """The address is told before the run pauses and Prefect stores the form after it: reload until it is there."""
    dialog = page.locator(".p-modal__card")
    for _ in range(12):
        page.goto(address)
        page.get_by_role("button", name="Resume").first.click()
        with suppress(PlaywrightTimeoutError):
            dialog.locator(".schema-form-property").first.wait_for(timeout=5_000)
            return dialog
    raise AssertionError(f"a dialog without the form: {dialog.inner_text()}")


def _answer(page: Page, dialog: Locator) -> None:
    for said in ("slice", "rollback", "evidence", "margin", "canary"):
        expect(dialog).to_contain_text(said, ignore_case=True)

    def field(name: str) -> Locator:
        return dialog.locator(".schema-form-property").filter(has_text=name).last

    field("Decision").locator(".p-select-button__icon").click()
    page.locator(".p-select-option").filter(has_text="promote").click()
    field("Approver").locator("textarea").fill("r.manager")
    field("Note").locator("textarea").fill("looks right")
    dialog.get_by_role("button", name="Submit").click()
    dialog.wait_for(state="hidden", timeout=120_000)  # Prefect answers late on a busy machine


def test_status_tells_stable_and_history(twice: Path) -> None:
    found = status(twice)
    assert [row["version"] for row in found["history"]] == ["v1", "v2"]
    assert found["stable"]["version"] == "v2"
    assert found["stable"]["bundle"] == found["history"][1]["bundle"]
    assert [row["version"] for row in found["warm"]] == ["v1"]
    assert found["differences"] == []


def test_verify_is_clean_and_mlflow_follows(twice: Path) -> None:
    answer = soundcheck(twice, "verify", FAMILY)
    assert (answer.returncode, answer.stdout.strip()) == (0, f"{FAMILY}: clean"), answer.stdout + answer.stderr
    alias = _mlflow(twice, "registered-models/alias", name=FAMILY, alias="stable")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in alias["tags"]}
    assert tags["soundcheck.bundle"] == status(twice)["stable"]["bundle"]


def _mlflow(root: Path, path: str, **params: str) -> Any:
    url = addresses(root / ".soundcheck").mlflow
    return httpx.get(f"{url}/api/2.0/mlflow/{path}", params=params, trust_env=False).raise_for_status().json()


def test_prefect_shows_one_completed_run_a_release_with_an_artifact_a_step(twice: Path) -> None:
    api = f"{addresses(twice / '.soundcheck').prefect}/api"
    runs = httpx.post(f"{api}/flow_runs/filter", json={}, trust_env=False).raise_for_status().json()
    releases, canaries = (
        sorted((run for run in runs if run["name"].startswith(kind)), key=lambda run: str(run["expected_start_time"]))
        for kind in ("release", "canary")
    )
    assert [run["name"] for run in releases] == [f"release {FAMILY} v1", f"release {FAMILY} v2"]
    assert len(canaries) == 2, "each release has its canary as a flow of its own"
    assert {run["state"]["type"] for run in (*releases, *canaries)} == {"COMPLETED"}
    for release, canary in zip(releases, canaries, strict=True):
        query = {"artifacts": {"flow_run_id": {"any_": [release["id"], canary["id"]]}}}
        found = httpx.post(f"{api}/artifacts/filter", json=query, trust_env=False).raise_for_status().json()
        wanted = {*(f"{FAMILY}-{step}" for step in STEPS), f"{FAMILY}-canary-live"}
        assert {artifact["key"] for artifact in found} >= wanted


def test_the_deployments_are_served(twice: Path) -> None:
    api = f"{addresses(twice / '.soundcheck').prefect}/api"
    found = httpx.post(f"{api}/deployments/filter", json={}, trust_env=False).raise_for_status().json()
    form = {deployment["name"]: deployment["parameter_openapi_schema"] for deployment in found}
    assert {"release", "canary", "rollback", "asr-commands-weekly", "asr-commands-daily", "asr-en-weekly"} <= set(form)
    assert form["release"]["definitions"]["Family"]["enum"] == list(Settings(twice, twice / ".soundcheck").families)


def test_a_release_starts_from_the_run_form_of_the_deployment(twice: Path) -> None:
    """The served deployment takes typed parameters and runs; this candidate was released, so it ends at once."""
    api = f"{addresses(twice / '.soundcheck').prefect}/api"
    deployment = httpx.get(f"{api}/deployments/name/release/release", trust_env=False).raise_for_status().json()
    wrong = {"parameters": {"family": "no-such-family"}, "state": {"type": "SCHEDULED"}}
    url = f"{api}/deployments/{deployment['id']}/create_flow_run"
    assert httpx.post(url, json=wrong, trust_env=False).status_code == 409
    right = {**wrong, "parameters": {"family": FAMILY, "candidate": "v2"}}
    run = httpx.post(url, json=right, trust_env=False).raise_for_status().json()
    ends = time.monotonic() + 120
    while (state := _state(api, run["id"]))["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        assert time.monotonic() < ends, state
        time.sleep(1)
    assert (state["type"], "already released" in state["message"]) == ("COMPLETED", True)


def _state(api: str, run_id: str) -> dict[str, Any]:
    state: dict[str, Any] = httpx.get(f"{api}/flow_runs/{run_id}", trust_env=False).raise_for_status().json()["state"]
    return state


def test_the_same_release_again_does_nothing(twice: Path) -> None:
    context = context_of(twice)
    before = len(context.ledger(FAMILY).events())
    answer = soundcheck(twice, "release", FAMILY, "--candidate", "v2")
    assert answer.returncode == 0, answer.stderr
    assert "already released under this policy; nothing was done again" in answer.stdout
    assert len(context_of(twice).ledger(FAMILY).events()) == before


def test_an_openai_client_is_answered_by_the_stable_bundle(twice: Path) -> None:
    from openai import OpenAI

    key = soundcheck(twice, "keys", "api", "demo").stdout.strip()
    client = OpenAI(base_url=f"{addresses(twice / '.soundcheck').gateway}/v1", api_key=key)
    clip = next((twice / "data" / "packs" / "commands" / "audio").glob("*.wav"))
    with clip.open("rb") as audio:
        answer = client.audio.transcriptions.with_raw_response.create(
            model=FAMILY, file=(planted.FILE_NAME, audio), extra_headers={"X-Soundcheck-Session": planted.SESSION}
        )
    assert answer.headers["x-soundcheck-bundle"] == status(twice)["stable"]["bundle"]
    assert isinstance(answer.parse().text, str)


def test_rollback_restore_and_status_work_without_prefect_and_mlflow(twice: Path, tmp_path: Path) -> None:
    parts = running(twice / ".soundcheck")
    for part in ("prefect", "mlflow", "deployments"):
        os.killpg(parts[part].pid, signal.SIGKILL)
    first, second = (row["bundle"] for row in status(twice)["history"])
    answer = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--reason", "a test", "--json")
    assert answer.returncode == 0, answer.stderr
    done = json.loads(answer.stdout)
    assert (done["left"], done["target"], done["kind"]) == (second, first, "rollback")
    assert done["golden_equal"] == done["golden_expected"] == 4
    answer = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--reason", "forward", "--to", "v2")
    assert answer.returncode == 0, answer.stderr
    assert "went forward to v2" in answer.stdout
    assert [row["version"] for row in status(twice)["history"]] == ["v1", "v2", "v1", "v2"]
    assert pointer.current(context_of(twice), FAMILY).stable == second
    answer = soundcheck(twice, "restore", first, "--into", str(tmp_path / "v1"))
    assert answer.returncode == 0, answer.stderr
    assert digests(tmp_path / "v1" / "payload") == digests(twice / "candidates" / FAMILY / "v1" / "payload")
    assert waiting_evidence(context_of(twice), FAMILY) is None


def test_a_slice_is_rolled_back_alone_and_a_whole_move_ends_it(twice: Path) -> None:
    """B6."""
    first, second = (row["bundle"] for row in status(twice)["history"][:2])
    words = ("rollback", FAMILY, "--key", "anna", "--to", "v1", "--slice", "device=phone", "--reason", "phones suffer")
    answer = soundcheck(twice, *words)
    assert answer.returncode == 0, answer.stderr
    table = pointer.current(context_of(twice), FAMILY).table
    assert table is not None
    assert table.stable == second
    assert [(rule.label, rule.value, rule.bundle) for rule in table.slice_rules] == [("device", "phone", first)]
    assert status(twice)["stable"]["bundle"] == second


def test_one_flipped_bit_is_found_and_named(twice: Path) -> None:
    """v1 is broken, so that no rollback has a target left; it is condemned, a person is paged, then it is mended."""
    bundle = status(twice)["history"][0]["bundle"]
    context = context_of(twice)
    manifest = json.loads(context.store.read_blob(bundle))
    weights = manifest["files"]["payload/weights.safetensors"]["sha256"]
    path = next((twice / ".soundcheck" / "store").rglob(f"*{weights[2:]}"))
    mode, content = path.stat().st_mode, path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = soundcheck(twice, "verify", FAMILY)
    assert answer.returncode == 1
    assert "payload/weights.safetensors" in answer.stdout
    refused = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--reason", "x")
    assert refused.returncode == 1
    assert "PAGE" in refused.stderr
    path.write_bytes(content)
    path.chmod(mode)


def test_freeze_is_in_the_ledger_and_a_condemned_bundle_stays_out(twice: Path) -> None:
    assert soundcheck(twice, "freeze", FAMILY).returncode == 0
    assert status(twice)["frozen"] is True
    assert soundcheck(twice, "unfreeze", FAMILY).returncode == 0
    refused = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--to", "v1", "--reason", "x")
    assert refused.returncode == 1
    assert "condemned" in refused.stderr


def test_a_revoked_key_can_neither_approve_nor_roll_back(twice: Path) -> None:
    assert soundcheck(twice, "keys", "revoke", "anna").returncode == 0
    refused = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--reason", "x")
    assert refused.returncode == 1
    assert "the key 'anna' may not act as operator" in refused.stderr
    assert "revoked" in refused.stderr


def test_stable_scored_again_is_as_it_was_released(twice: Path) -> None:
    answer = soundcheck(twice, "drift", FAMILY)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "every count equal" in answer.stdout


def test_fault_62_after_the_whole_story_nothing_private_is_in_any_file_below_home(twice: Path) -> None:
    """Databases of MLflow and Prefect with their write-ahead logs, artifacts, logs, telemetry, reports, store."""
    home, context = twice / ".soundcheck", context_of(twice)
    bundles = [row["bundle"] for row in status(twice)["history"]]
    for place in ("prefect", "mlflow", "telemetry", "run", "reports", "store"):
        assert planted.holds(home / place, bundles[0]), f"{place}: what is there cannot be found"
    manifests = [get_document(context.store, BundleManifest, bundle) for bundle in sorted(set(bundles))]
    entries = [entry for manifest in manifests for entry in manifest.files.items()]
    golden = {entry.sha256 for name, entry in entries if name.startswith("golden/audio/")}
    secrets = planted.secrets(home / "keys")
    assert {"anna.key", "builder.key", "demo.api"} <= secrets.keys()
    pack_root = twice / "data" / "packs" / "commands"
    search = partial(planted.search, kept=frozenset(golden), secrets=secrets, pack_root=pack_root)
    assert {"a plant", "the voice of"} <= {what.split(": ")[1][:12].strip() for what in search(pack_root).found}
    searched = search(home)
    assert searched.found == {}
    assert searched.read["mlflow"] > 100_000 < searched.read["prefect"]
