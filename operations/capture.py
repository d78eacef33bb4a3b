"""R1 Capture: from a candidate folder to a TrainManifest.

Boundary: reads the candidate, the packs and git; writes blobs and one ledger event.
Invariants: a pickle never gets past here (R1.4); an eval pack's audio or speaker in the training data refuses the
release (R1.2); a dirty work tree is refused (R1.3); data that is not what dvc.lock says is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.bundle import payload_digest
from contracts.digest import Digest, digest_of, sha256_file
from contracts.errors import Refused
from contracts.train_manifest import DataSummary, FileEntry, TrainManifest
from operations import candidate as candidates
from operations.context import Context, once, put
from operations.data_lineage import trace
from operations.migration.planning import read_plan
from operations.packs import required_packs
from registry.garbage import refuse_collected
from speech.weights import check_payload

if TYPE_CHECKING:
    import pandas as pd


MANIFEST = "data_manifest.parquet"


def release_id(family: str, version: str, payload: Digest, policy: Digest) -> str:
    """The name of a release: the same payload under the same policy is the same release (R5.5)."""
    return digest_of({"family": family, "version": version, "payload": payload, "policy": policy})


def capture(context: Context, family: str, candidate: str) -> dict[str, Digest]:
    """Outputs: `train_manifest`, `payload`, `candidate`, `model_card`, `policy`, and `release` (its id); and
    `migration_plan` where the candidate brings one."""
    policy = context.settings.policy(family)
    folder = candidates.find(context.settings, family, candidate)
    description = candidates.read(folder, family)
    files = {path: FileEntry(sha256=digest, size=size) for path, digest, size in _digests(folder / "payload")}
    payload = payload_digest(files)
    release = release_id(family, description.version, payload, policy.digest())
    refuse_collected(context.ledger(family).state(), release)
    inputs = {"candidate": description.digest(), "payload": payload, "policy": policy.digest()}
    inputs |= _present(data_manifest=folder / MANIFEST, model_card=folder / "MODEL_CARD.md")
    plan = read_plan(folder)
    inputs |= {"migration_plan": plan.digest()} if plan else {}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        check_payload(folder / "payload")
        contract = candidates.feature_contract(folder / "payload")
        _refuse_dirty(context)
        frame = _data_manifest(folder, description.origin)
        leakage = _leakage(
            context, family, frame, description.origin, rates=contract.accepted_rates_hz, where=folder.name
        )
        lineage = trace(context, folder, description, frame)
        manifest = TrainManifest(
            family=family,
            version=description.version,
            origin=description.origin,
            training_code_sha=description.training_code_sha,
            dirty=False,
            data=_summary(context, folder, frame),
            hyperparameters=description.hyperparameters,
            seeds=description.seeds,
            base_model=description.base_model,
            dependency_lock=context.store.put_blob(context.settings.root / "requirements.lock"),
            dvc_lock=_present(lock=context.settings.root / "dvc.lock").get("lock"),
            dvc=lineage,
            params=sha256_file(context.settings.root / "params.yaml"),
            payload=files,
            payload_digest=payload,
            leakage=leakage,
        )
        new_bytes = sum(entry.size for entry in files.values() if not context.store.has_blob(entry.sha256))
        for path in files:
            context.store.put_blob(folder / "payload" / path)
        card = context.store.put_blob(_model_card(folder))
        digests = put(context, manifest, description, policy)
        outputs = dict(zip(("train_manifest", "candidate", "policy"), digests, strict=True))
        facts: dict[str, JsonValue] = {"version": description.version, "leakage": leakage, "new_bytes": new_bytes}
        facts["data"] = f"DVC stage {lineage.stage}" if lineage else "not made by a DVC stage"
        if plan:
            (outputs["migration_plan"],) = put(context, plan)
        return {**outputs, "payload": payload, "model_card": card}, facts

    outputs = once(context, family=family, release=release, step="capture", inputs=inputs, body=body)
    return {**outputs, "release": release}


def _refuse_dirty(context: Context) -> None:
    changed = candidates.changed_files(context.settings.root)
    if changed is None:
        raise Refused(
            "the project is not in git, so its state cannot be recorded",
            where=str(context.settings.root),
            expected="a clean git work tree",
            next_step="git init, commit, and run the release again",
        )
    if changed:
        raise Refused(
            "the work tree has uncommitted changes",
            where=str(context.settings.root),
            got=f"{len(changed)} file{'s' if len(changed) > 1 else ''}: " + ", ".join(changed[:5]),
            expected="a clean work tree (dvc.lock aside), so that the release can be made again",
            next_step="git commit (or git stash) and run the release again",
        )


def _data_manifest(folder: Path, origin: str) -> pd.DataFrame | None:
    import pandas as pd

    path = folder / MANIFEST
    if path.is_file():
        return pd.read_parquet(path)
    if origin == "third_party":
        return None
    raise Refused(
        "the candidate has no data manifest",
        where=str(path),
        expected="one row a training utterance (or origin: third_party in candidate.yaml)",
        next_step="let training write data_manifest.parquet (speech/ctc/train.py shows how)",
    )


def _leakage(
    context: Context,
    family: str,
    frame: pd.DataFrame | None,
    origin: str,
    *,
    rates: tuple[int, ...],
    where: str,
) -> str:
    """R1.1 and R1.2, or why leakage cannot be known (R1.5): of a third party's model we know at most what we fitted."""
    if frame is None:
        return "inconclusive: a third party's model has no data manifest of ours"
    from evalpacks.expectations import check_data_manifest
    from evalpacks.pack import overlap

    check_data_manifest(frame, rates=rates, where=where)
    for pack in required_packs(context, family):
        shared = overlap(pack, frame)
        if shared:
            raise Refused(
                "an eval pack leaks into the training data",
                where=f"pack {pack.name}",
                got="; ".join(shared[:5]),
                expected="no utterance and no speaker of a pack in the training data",
                next_step="remove them from training and train again",
            )
    if origin == "third_party":
        return "inconclusive: none found in what we fitted; the third party's own data is not known"
    return "none found"


def _summary(context: Context, folder: Path, frame: pd.DataFrame | None) -> DataSummary | None:
    if frame is None:
        return None
    labels = digest_of({str(key): str(text) for key, text in zip(frame["utterance_id"], frame["text"], strict=True)})
    return DataSummary(
        digest=context.store.put_blob(folder / MANIFEST),
        label_digest=labels,
        utterances=len(frame),
        hours=round(float(frame["duration_s"].sum()) / 3600, 6),
        speakers=int(frame["speaker"].nunique()),
        languages=tuple(sorted(frame["language"].unique())),
        licences=tuple(sorted(frame["licence"].unique())),
    )


def _digests(payload: Path) -> list[tuple[str, Digest, int]]:
    files = sorted(path for path in payload.rglob("*") if path.is_file())
    return [(path.relative_to(payload).as_posix(), sha256_file(path), path.stat().st_size) for path in files]


def _present(**files: Path) -> dict[str, Digest]:
    return {name: sha256_file(path) for name, path in files.items() if path.is_file()}


def _model_card(folder: Path) -> bytes:
    path = folder / "MODEL_CARD.md"
    if not path.is_file():
        raise Refused(
            "the candidate has no model card",
            where=str(path),
            next_step="write MODEL_CARD.md: what it is for, what it was trained on, what it is bad at",
        )
    return path.read_bytes()
