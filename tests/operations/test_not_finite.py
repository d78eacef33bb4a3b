"""Finite weights whose outputs overflow (fault 52): scoring and the golden proof name them as what they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import soundfile

from contracts.bundle import Golden, GoldenFixture, payload_digest
from contracts.digest import sha256_file, short
from contracts.train_manifest import FileEntry
from operations import compute, shards
from operations.golden import prove
from operations.payload import payload_folder
from registry.bundle import assemble, freeze
from speech.runtimes import OutputsNotFinite
from tests.operations.gated_releases import FAMILY, open_installation
from tests.operations.shard_parts import Installation
from tests.speech.ctc_samples import babbling, overflowing_payload

WHAT = "the model's outputs are not finite"


def test_a_shard_of_such_a_payload_names_it_and_leaves_no_table(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    made = overflowing_payload(tmp_path / "made")
    files = {path.name: FileEntry(sha256=sha256_file(path), size=path.stat().st_size) for path in made.iterdir()}
    payload = payload_digest(files)
    made.rename(payload_folder(place.settings.home, payload))
    wanted = shards.Wanted(payload, "tiny", place.pack.digest, "batch", range(2))
    (shard,) = shards.plan([wanted], size=2, lock="c" * 64)
    with pytest.raises(OutputsNotFinite) as raised:
        shards.hear(place.settings, "1" * 64, shard)
    assert (raised.value.what, raised.value.where) == (WHAT, f"payload {short(payload)}")
    assert shards.kept(place.settings, "1" * 64, shard) is None


def test_the_golden_proof_names_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = open_installation(tmp_path / "installation")
    folder = tmp_path / "bundle"
    overflowing_payload(folder / "payload")
    (folder / "golden" / "audio").mkdir(parents=True)
    soundfile.write(folder / "golden" / "audio" / "000.wav", babbling(1.0), 16_000)
    golden = Golden(max_word_edits=99, fixtures=(GoldenFixture(fixture_id="1", audio="audio/000.wav", text="call"),))
    (folder / "golden" / "golden.json").write_bytes(golden.canonical())
    bundle = freeze(context.store, folder, assemble(folder, family=FAMILY, version="v1"))
    monkeypatch.setattr(compute, "shared", lambda function, *arguments: function(*arguments))
    with pytest.raises(OutputsNotFinite) as raised:
        prove(context, bundle)
    assert (raised.value.what, raised.value.where) == (WHAT, f"bundle {short(bundle)}")
    assert raised.value.exit_status == 1


def test_the_error_is_the_same_on_the_other_side_of_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(OutputsNotFinite(where="payload 1234")))
    assert isinstance(error, OutputsNotFinite)
    assert str(error) == str(OutputsNotFinite(where="payload 1234"))
