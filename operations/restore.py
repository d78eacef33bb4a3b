"""S Restore and verify: any bundle that was ever packaged, proved whole, from the store alone.

Boundary: the store and a target folder; no Prefect, MLflow or DVC.
Invariants: a chain of evidence that is broken is named, a bundle that was stable is never restored in part (S1, S2).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.errors import Refused, SoundcheckError
from operations import pointer
from operations.attest import attestation_faults
from operations.context import Context


class Restored(NamedTuple):
    """What was restored, and where."""

    bundle: Digest
    family: str
    version: str
    files: int
    folder: Path


def restore(context: Context, family: str, bundle: Digest, into: Path) -> Restored:
    """Write the bundle's files into a new folder, each digested as it is written (S2)."""
    from registry.bundle import restore as restore_files

    faults = chain_faults(context, family, bundle)
    if faults:
        raise Refused(
            "the chain of evidence is broken",
            where=f"bundle {short(bundle)}",
            got="; ".join(faults),
            expected="train manifest, registry entry, scores and bundle, each whole",
            next_step="soundcheck verify names every fault; restore the store from its backup",
        )
    manifest = restore_files(
        context.store, bundle, into, on_progress=lambda done, total: context.progress("restore", done, total)
    )
    return Restored(bundle, manifest.family, manifest.version, len(manifest.files), into)


def healthy(context: Context, family: str, bundle: Digest) -> list[str]:
    """B3: manifest, signature, blobs and chain of one bundle; the faults in sentences."""
    from registry.bundle import verify

    return [str(fault) for fault in verify(context.store, bundle)] + chain_faults(context, family, bundle)


def chain_faults(context: Context, family: str, bundle: Digest) -> list[str]:
    """S1: every document that led to the bundle is there and whole, and the builder's signature holds."""
    events = context.ledger(family).events()
    package = next(
        (event for event in events if event.step == "package" and event.outputs.get("bundle") == bundle), None
    )
    if package is None:
        return ["the ledger has no package event for it"]
    faults = []
    for role, digest in sorted(package.inputs.items()):
        try:
            context.store.read_blob(digest)
        except SoundcheckError as error:
            faults.append(f"{role} {short(digest)}: {error.what}")
    return faults + attestation_faults(context, package)


def verify_family(context: Context, family: str) -> list[str]:
    """Ledger chain, every bundle, the pointer, the mirror: all faults, in sentences."""
    ledger, seen = context.ledger(family), pointer.current(context, family)
    anchor = (seen.table.ledger_sequence, seen.table.ledger_head) if seen.table else None
    faults = [f"ledger: {fault}" for fault in ledger.verify(anchor=anchor)]
    if faults:
        return faults
    state = ledger.state()
    for bundle, version in state.packaged.items():
        faults += [f"bundle {version} {short(bundle)}: {fault}" for fault in healthy(context, family, bundle)]
    if seen.stable != state.current:
        faults.append(f"pointer: stable is {_name(seen.stable)}, the ledger says {_name(state.current)}")
    return faults


def mirror_differences(context: Context, family: str) -> list[str]:
    """Where MLflow differs from the pointer, which is the authority (fault 35)."""
    if context.mirror is None:
        return []
    try:
        return context.mirror.differences(family, pointer.current(context, family).stable)
    except SoundcheckError as error:
        return [f"MLflow cannot be asked: {error.what}"]


def _name(bundle: Digest | None) -> str:
    return short(bundle) if bundle else "none"
