"""The main job with the store in a bucket: release twice, go back, restore, verify; gateways hold read rights alone.

The commands have two profiles of AWS: the publisher's for `store.url`, the serving one for `store.serving_url`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from contracts.bundle import BundleManifest
from operations.store_check import check_store_daily
from registry.bundle import verify_folder
from tests.flows.release_project import (
    FAMILY,
    Company,
    command,
    commit,
    context_of,
    environment,
    make_project,
    soundcheck,
    status,
)
from tests.servers.seaweed import PUBLISHER, SERVING, S3Server, free_ports, running, s3_client

BUCKET = "speech"
READY_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3")) as server:
        s3_client(server).create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Profiles `publisher` and `serving` for every process of the tests, and nothing else that AWS tools would find."""
    folder = tmp_path_factory.mktemp("aws")
    both, serving = folder / "both", folder / "serving-alone"
    both.write_text(_profile("publisher", PUBLISHER) + _profile("serving", SERVING))
    serving.write_text(_profile("serving", SERVING))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(both))
        patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield serving


def _profile(name: str, keys: tuple[str, str]) -> str:
    return f"[{name}]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"


@pytest.fixture(scope="module")
def project(server: S3Server, credentials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = make_project(tmp_path_factory.mktemp("bucket") / "project", every=24)
    params = yaml.safe_load((root / "params.yaml").read_text())
    address = f"s3://{BUCKET}/releases?endpoint={server.endpoint}"
    params["store"] = {"url": f"{address}&profile=publisher", "serving_url": f"{address}&profile=serving"}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit(root)
    for words in (("keys", "new", "anna"), ("up", "--auto-ports", "--part", "prefect", "--part", "gateway")):
        answer = soundcheck(root, *words)
        assert answer.returncode == 0, answer.stderr
    yield root
    down = soundcheck(root, "down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="module")
def twice(project: Path) -> Path:
    """v1, then v2, are released."""
    with Company(project, sign_with="anna"):
        for version in ("v1", "v2"):
            answer = soundcheck(project, "release", FAMILY, "--candidate", version)
            assert answer.returncode == 0, answer.stdout + answer.stderr
    return project


def test_the_bucket_was_tested_when_the_servers_were_started(project: Path) -> None:
    context = context_of(project)
    assert not check_store_daily(context.store, context.home, context.now())


def test_everything_lies_in_the_bucket_and_nothing_in_a_folder(twice: Path, server: S3Server) -> None:
    found = s3_client(server).list_objects_v2(Bucket=BUCKET, Prefix="releases/")["Contents"]
    kinds = {entry["Key"].split("/")[1] for entry in found}
    assert {"blobs", "ledger", "pointers"} <= kinds
    assert not (twice / ".soundcheck" / "store").exists()


def test_a_gateway_with_read_rights_alone_serves_the_stable_bundle(twice: Path, credentials: Path) -> None:
    """Its process has no other credentials, so what it does needs no more."""
    port = free_ports(1)[0]
    alone = {**environment(twice), "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    gateway = subprocess.Popen(
        command("serve", "--port", str(port)), cwd=twice, env=alone,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert _ready(port) == {FAMILY: True}
    finally:
        gateway.terminate()
        gateway.wait(timeout=30)


def _ready(port: int) -> dict[str, bool]:
    """The family's entry of /readyz, once it says yes."""
    ends = time.monotonic() + READY_S
    seen: dict[str, bool] = {}
    while time.monotonic() < ends:
        with suppress(httpx.HTTPError):
            seen = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).json()["families"]
        if seen.get(FAMILY):
            break
        time.sleep(0.2)
    return {FAMILY: seen.get(FAMILY, False)}


def test_rolled_back_restored_and_verified_from_the_bucket(twice: Path, tmp_path: Path) -> None:
    before = status(twice)
    assert [row["version"] for row in before["history"]] == ["v1", "v2"]
    back = soundcheck(twice, "rollback", FAMILY, "--key", "anna", "--reason", "a rehearsal")
    assert back.returncode == 0, back.stdout + back.stderr
    assert status(twice)["stable"]["version"] == "v1"
    restored = soundcheck(twice, "restore", before["stable"]["bundle"], "--into", str(tmp_path / "v2"))
    assert restored.returncode == 0, restored.stderr
    store = context_of(twice).store
    manifest = BundleManifest.parse(store.read_blob(before["stable"]["bundle"]))
    assert verify_folder(tmp_path / "v2", manifest) == []
    clean = soundcheck(twice, "verify", FAMILY)
    assert (clean.returncode, clean.stdout.strip()) == (0, f"{FAMILY}: clean"), clean.stdout + clean.stderr


def test_the_packet_of_the_bundle_names_its_real_target(twice: Path, tmp_path: Path) -> None:
    """Coverage 28: as JSON and as a page, from the bucket."""
    first, second = (row["bundle"] for row in status(twice)["history"][:2])
    answer = soundcheck(twice, "packet", second)
    assert answer.returncode == 0, answer.stderr
    packet = json.loads(answer.stdout)
    assert (packet["version"], packet["target"]) == ("v2", first)
    assert packet["rollback"]["command"].endswith(f"--to {first}")
    assert packet["known_risks"]
    page = soundcheck(twice, "packet", second, "--html", str(tmp_path / "packet.html"))
    assert page.returncode == 0, page.stderr
    assert packet["rollback"]["command"] in (tmp_path / "packet.html").read_text()
