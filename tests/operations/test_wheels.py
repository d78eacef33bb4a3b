"""Wheels of a runtime lock: gathered by the real pip from a folder, kept, attacked, given back (R5.6)."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import itertools
import json
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.digest import sha256_bytes
from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, Refused, WrongCall
from contracts.train_manifest import FileEntry
from contracts.wheelhouse import WHEELHOUSES, Wheelhouse, spelled
from operations import keys, wheels
from operations.context import Context
from registry.bundle import assemble, freeze
from registry.garbage import collect
from registry.provenance import DISTRIBUTION
from registry.signing import sign
from registry.store.keys import blob_key
from registry.store.memory import Crash, FaultKind, MemoryStore
from tests.flows.release_project import REPOSITORY
from tests.operations.gated_releases import FAMILY, open_installation
from tests.registry.registry_parts import write_folder

LOCK = b"# made by uv\ntiny-serving==1.0\ntiny_part==2.0 ; python_version > '3'\n"
NOW = "2026-11-20T00:00:00.000Z"


def _wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A real wheel of one module that says its version."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(text)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder where pip looks; tiny_serving, which is all that serving needs here, needs tiny_part."""
    folder = tmp_path / "index"
    _wheel(folder, "tiny_serving", "1.0", needs="tiny-part>=1")
    for version in ("1.0", "2.0", "3.0"):
        _wheel(folder, "tiny_part", version)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wheels, "needs", lambda: ["tiny-serving"])
    return folder


def _installed(folder: Path) -> Context:
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(f"defaults: {{}}\nfamilies: {{{FAMILY}: {{}}}}\n")
    return open_installation(folder)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return _installed(tmp_path)


@pytest.fixture
def kept(context: Context, index: Path) -> wheels.Kept:
    return wheels.keep(context, LOCK)


def _memory(context: Context) -> MemoryStore:
    assert isinstance(context.store, MemoryStore)
    return context.store


def _bundle(context: Context, folder: Path, lock: bytes = LOCK) -> str:
    files = write_folder(folder, {"payload/a": b"a", "runtime.lock": lock})
    return freeze(context.store, files, assemble(files, family=FAMILY, version="v1"))


def test_what_serving_needs_is_pinned_by_the_projects_lock() -> None:
    pinned = {pin.name for pin in wheels.pins((REPOSITORY / "requirements.lock").read_bytes())}
    needs = wheels.needs()
    assert {"uvicorn[standard]", "securesystemslib[crypto]", "torch"} <= set(needs)
    assert {need.partition("[")[0] for need in needs} <= pinned


def test_a_serving_process_loads_nothing_that_is_not_named() -> None:
    """Of what our distribution requires directly; what that needs in turn pip resolves."""
    code = (
        "import json, sys\n"
        "import serving.gateway, serving.worker, flows.cli, flows.commands.servers, operations.settings\n"
        "import registry.store.s3, registry.signing, registry.envelopes, speech.quantize, speech.front_end\n"
        "import speech.runtimes.ctc, speech.ctc.decode, speech.ctc.model, safetensors.torch\n"
        "import speech.runtimes.moonshine, onnxruntime, speech.runtimes.pocketsphinx, pocketsphinx, uvloop\n"
        "import pages.live, jinja2, serving.tracing, opentelemetry.exporter.otlp.proto.http.trace_exporter\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    owners = importlib.metadata.packages_distributions()
    distributions = {spelled(owner) for name in loaded for owner in owners.get(name, ())}
    direct = {spelled(need) for need in _direct()}
    assert distributions & direct - set(wheels.SERVING) == set()
    assert len(distributions & direct) > len(wheels.SERVING) / 2


def _direct() -> list[str]:
    return [re.split(r"[^\w.-]", need)[0] for need in importlib.metadata.requires(DISTRIBUTION) or ()]


def test_wheels_are_those_of_the_lock_and_are_gathered_once(
    context: Context, kept: wheels.Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(kept.wheelhouse.wheels) == ["tiny_part-2.0-py3-none-any.whl", "tiny_serving-1.0-py3-none-any.whl"]
    assert (kept.gathered, kept.wheelhouse.lock) == (True, sha256_bytes(LOCK))
    assert list((context.home / "cache" / "wheels").iterdir()) == []
    monkeypatch.setattr(wheels, "_download", lambda _folder: pytest.fail("gathered again"))
    assert wheels.keep(context, LOCK) == kept._replace(gathered=False)


def test_wheels_that_are_given_back_are_all_that_pip_needs(context: Context, kept: wheels.Kept, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "index")
    bundle, into = _bundle(context, tmp_path / "bundle"), tmp_path / "deep" / "wheels"
    assert wheels.restore_wheels(context, bundle, into) == kept.wheelhouse
    words = wheels.INSTALL.format(folder=into).split()
    target = ("--quiet", "--disable-pip-version-check", "--target", str(tmp_path / "site"))
    subprocess.run([sys.executable, "-m", *words, *target], check=True)
    assert "'2.0'" in (tmp_path / "site" / "tiny_part.py").read_text()
    assert wheels.restore_wheels(context, bundle, into) == kept.wheelhouse  # there already


def test_a_folder_with_something_else_is_left_alone(context: Context, kept: wheels.Kept, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="there is a folder for the wheels already"):
        wheels.restore_wheels(context, _bundle(context, tmp_path / "bundle"), tmp_path / "index")


def test_damaged_wheels_are_never_given_back(context: Context, kept: wheels.Kept, tmp_path: Path) -> None:
    entry = kept.wheelhouse.wheels["tiny_part-2.0-py3-none-any.whl"]
    _memory(context).objects[blob_key(entry.sha256)] = b"other"
    with pytest.raises(Corrupt):
        wheels.restore_wheels(context, _bundle(context, tmp_path / "bundle"), tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()


def test_a_wheel_that_is_missing_is_gathered_again(context: Context, kept: wheels.Kept) -> None:
    digest = kept.wheelhouse.wheels["tiny_part-2.0-py3-none-any.whl"].sha256
    context.store.delete_blob(digest)
    assert wheels.keep(context, LOCK) == kept
    assert context.store.has_blob(digest)


@pytest.mark.parametrize(
    ("lock", "error", "text"),
    [
        (b"tiny-serving==1.0\n", Refused, r"serving needs packages that the runtime lock does not pin.*tiny-part 3.0"),
        (
            b"tiny-serving==7\n",
            DependencyFailed,
            r"could not be gathered.*got: Cannot install tiny-serving.*pip config list",
        ),
    ],
    ids=["not pinned", "not in the index"],
)
def test_wheels_that_the_lock_does_not_pin_are_not_kept(
    context: Context, index: Path, lock: bytes, error: type[Refused | DependencyFailed], text: str
) -> None:
    with pytest.raises(error) as caught:
        wheels.keep(context, lock)
    assert re.search(text, caught.value.diagnostics().replace("\n", " "))
    assert list(context.store.list(WHEELHOUSES)) == []
    assert list(context.store.blobs()) == []


@pytest.mark.parametrize("kind", list(FaultKind))
def test_keeping_that_fails_at_any_call_is_run_again_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: FaultKind
) -> None:
    for name, version in (("tiny_serving", "1.0"), ("tiny_part", "2.0")):
        _wheel(tmp_path / "index", name, version)
    monkeypatch.setattr(
        wheels, "_download", lambda folder: shutil.copytree(tmp_path / "index", folder / "wheels") and None
    )
    for call in itertools.count(1):
        context = _installed(tmp_path / str(call))
        store = _memory(context)
        store.inject(call, kind)
        begun = store.calls
        try:
            wheels.keep(context, LOCK)
        except (DependencyFailed, Crash):
            assert wheels.keep(context, LOCK).wheelhouse.wheels
        if store.calls - begun < call:
            return
        kept = wheels.find(context, sha256_bytes(LOCK))
        assert kept is not None
        assert all(store.has_blob(entry.sha256) for entry in kept.wheelhouse.wheels.values())
        assert len(list(store.list(WHEELHOUSES))) == 1
        assert list((context.home / "cache" / "wheels").iterdir()) == []


def test_a_store_that_does_not_answer_hides_no_wheels(context: Context, kept: wheels.Kept) -> None:
    store = _memory(context)
    before = store.calls
    wheels.find(context, sha256_bytes(LOCK))
    for call in range(1, store.calls - before + 1):
        store.inject(call, FaultKind.FAIL)
        with pytest.raises(DependencyFailed):
            wheels.find(context, sha256_bytes(LOCK))


def test_who_comes_second_is_told_to_run_again(
    context: Context, kept: wheels.Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.rotate(context, "builder")
    monkeypatch.setattr(wheels, "_envelopes", lambda *_: [])
    with pytest.raises(DependencyFailed, match="somebody else has just kept the wheels of this lock"):
        wheels.keep(context, LOCK)


def _forged(context: Context, lock: str, platform: str, signer: str = "builder") -> bytes:
    entry = FileEntry(sha256=context.store.put_blob(b"hostile"), size=7)
    wheelhouse = Wheelhouse(lock=lock, platform=platform, wheels={"tiny_part-2.0-py3-none-any.whl": entry})
    return sign(wheelhouse, {"lock": lock}, wheels.WHEELHOUSE_TYPE, keys.load(context, signer))


@pytest.mark.parametrize(
    ("lock", "platform", "signer"),
    [
        (sha256_bytes(LOCK), wheels.platform(), "bert"),
        (sha256_bytes(LOCK), "cp39-macosx-arm64", "builder"),
        ("c" * 64, wheels.platform(), "builder"),
    ],
    ids=["signed by an operator", "of another platform", "of another lock"],
)
def test_what_the_builder_did_not_sign_about_this_lock_does_not_count(
    context: Context, kept: wheels.Kept, lock: str, platform: str, signer: str
) -> None:
    name = sha256_bytes(LOCK)
    place = f"{WHEELHOUSES}{name}/{wheels.platform()}/1"
    context.store.create(place, _forged(context, lock, platform, signer))
    assert wheels.find(context, name) == kept._replace(gathered=False)


def test_after_a_new_key_wheels_count_that_a_release_had_named(context: Context, kept: wheels.Kept) -> None:
    name = sha256_bytes(LOCK)
    context.ledger(FAMILY).append("package", "complete", at=NOW, outputs={wheels.OUTPUT: kept.envelope})
    keys.rotate(context, "builder")
    assert wheels.find(context, name) == kept._replace(gathered=False)


def test_after_a_new_key_other_wheels_are_gathered_and_signed_anew(context: Context, kept: wheels.Kept) -> None:
    keys.rotate(context, "builder")
    assert wheels.find(context, sha256_bytes(LOCK)) is None
    again = wheels.keep(context, LOCK)
    assert (again.gathered, again.wheelhouse) == (True, kept.wheelhouse)
    assert again.envelope != kept.envelope
    assert wheels.find(context, sha256_bytes(LOCK)) == again._replace(gathered=False)


def test_without_wheels_the_next_step_is_said(context: Context, tmp_path: Path) -> None:
    lock = sha256_bytes(LOCK)
    context.store.create(f"{WHEELHOUSES}{lock}/cp312-linux-aarch64/0", b"{}")
    with pytest.raises(Refused) as caught:
        wheels.restore_wheels(context, _bundle(context, tmp_path / "bundle"), tmp_path / "wheels")
    said = caught.value.diagnostics()
    assert "the store has no wheels of this runtime lock that count here" in said
    assert "wheels for cp312-linux-aarch64" in said
    assert f"soundcheck wheels {lock}" in said


def test_garbage_collection_keeps_wheels_for_good(context: Context, kept: wheels.Kept) -> None:
    orphan = context.store.put_blob(b"named by nobody")
    later = datetime.now(UTC) + timedelta(days=400)
    done = collect(context.store, [FAMILY], clock=lambda: later, grace_s=90_000, stopped_s=90_000, delete=True)
    assert (done.deleted, context.store.has_blob(orphan)) == (1, False)
    assert all(context.store.has_blob(entry.sha256) for entry in kept.wheelhouse.wheels.values())
    assert context.store.read_blob(kept.wheelhouse.lock) == LOCK


def test_a_lock_is_a_file_a_digest_or_the_projects_own(context: Context, tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_bytes(b"own==1\n")
    (tmp_path / "other.lock").write_bytes(b"other==1\n")
    assert wheels.read_lock(context, None) == b"own==1\n"
    assert wheels.read_lock(context, str(tmp_path / "other.lock")) == b"other==1\n"
    assert wheels.read_lock(context, context.store.put_blob(LOCK)) == LOCK
    with pytest.raises(WrongCall, match="there is no such runtime lock"):
        wheels.read_lock(context, "nothing")
