"""S Restore and verify: any bundle that was ever packaged, proved whole, from the store alone.

What was erased (S5) or collected (fault 29) is told from what is missing: by a signed tombstone, by a ledger event.

Boundary: the store and a target folder; no Prefect, MLflow or DVC.
Invariants: a chain of evidence that is broken is named, a bundle that was stable is never restored in part (S1, S2).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import Corrupt, DependencyFailed, NotFound, Refused, SoundcheckError
from contracts.tombstone import OPTIONAL, Tombstone
from operations import keys, pointer
from operations.chain import chain_faults
from operations.context import Context, log
from operations.named import unread
from registry.garbage import refuse_collected
from registry.keyring import Position
from registry.keyring_chain import load_ring
from registry.tombstones import checked, sentence, standing


class Restored(NamedTuple):
    """What was restored, and where."""

    bundle: Digest
    family: str
    version: str
    files: int
    folder: Path
    absent: tuple[str, ...] = ()
    """What was erased, in sentences: such a bundle is not whole."""


def restore(context: Context, family: str, bundle: Digest, into: Path) -> Restored:
    """Write the bundle's files into a new folder, each digested as it is written (S2)."""
    from registry.bundle import restore as restore_files
    from registry.tombstones import absent_in

    refuse_collected(context.ledger(family).state(), bundle)
    faults = chain_faults(context, family, bundle)
    if faults:
        raise Refused(
            "the chain of evidence is broken",
            where=f"bundle {short(bundle)}",
            got="; ".join(faults),
            expected="train manifest, registry entry, scores, bundle and its approval, each whole",
            next_step="soundcheck verify names every fault; restore the store from its backup",
        )
    manifest = restore_files(
        context.store, bundle, into, on_progress=lambda done, total: context.progress("restore", done, total)
    )
    absent = absent_in(into, manifest)
    said = tuple(f"{path}: {sentence(entry)}" for path, entry in absent.items())
    return Restored(bundle, manifest.family, manifest.version, len(manifest.files) - len(absent), into, said)


def refuse_broken(context: Context, family: str, bundle: Digest, *, else_: str) -> None:
    """Raise Corrupt for a bundle that cannot be served (B3); `else_`: what to do instead, beside looking closer."""
    if faults := healthy(context, family, bundle):
        raise Corrupt(
            "the bundle is not whole",
            where=f"{family}, bundle {short(bundle)}",
            got="; ".join(faults),
            expected="every file as it was packaged",
            next_step=f"soundcheck verify {family}; {else_}",
        )


class Findings(NamedTuple):
    """What is wrong, and what is absent for a reason that somebody signed or recorded; both in sentences.

    `usable`: nothing that the bundle runs from is absent.
    """

    faults: list[str]
    absent: list[str]
    usable: bool = True


def healthy(context: Context, family: str, bundle: Digest) -> list[str]:
    """B3: manifest, signature, blobs and chain of one bundle; why it cannot be served, in sentences."""
    found = examine(context, family, bundle)
    return found.faults + ([] if found.usable else found.absent)


def examine(context: Context, family: str, bundle: Digest) -> Findings:
    """Manifest, signature, blobs and chain of one bundle."""
    from registry.bundle import load_manifest, verify

    found = Findings([], [])
    faults = verify(context.store, bundle)
    collected = context.ledger(family).state().collected.get(bundle)
    if collected and any(fault.kind == "missing" for fault in faults):
        found = Findings([], [f"collected on {collected[:10]}: it was never promoted"], usable=False)
        faults = [fault for fault in faults if fault.kind != "missing"]
    files = load_manifest(context.store, bundle).files if any(fault.kind == "missing" for fault in faults) else {}
    for fault in faults:
        entry = files.get(fault.path) if fault.kind == "missing" else None
        word = _erased(context, family, entry.sha256) if entry else None
        if word is None:
            found.faults.append(str(fault))
            continue
        found.absent.append(f"{fault.path}: {sentence(word)}")
        found = found._replace(usable=found.usable and fault.path.startswith(OPTIONAL))
    found.faults.extend(chain_faults(context, family, bundle))
    return found


def _erased(context: Context, family: str, digest: Digest) -> Tombstone | None:
    """The tombstone of a blob, None where there is none that counts."""
    envelope = standing(context.store, digest)
    if envelope is None:
        return None
    name = sha256_bytes(envelope)
    events = context.ledger(family).events()
    sequence = next((event.sequence for event in events if event.outputs.get("tombstone") == name), None)
    at = None if sequence is None else Position(family, sequence)
    try:
        return checked(envelope, keys.ring(context), digest, at)
    except DependencyFailed:
        raise
    except SoundcheckError as error:
        log.warning("the tombstone of blob %s does not count: %s", short(digest), error.what)
        return None


def verify_family(context: Context, family: str) -> list[str]:
    """Ledger chain, key ring, every bundle, every document, the pointer: all faults, in sentences."""
    return examine_family(context, family).faults


def examine_family(context: Context, family: str) -> Findings:
    """Ledger chain, key ring, every bundle, every document that the ledger names, the pointer.

    `usable` is of no meaning here. A document that a bundle holds, or that its chain needs, may be named twice: for the
    bundle that is broken by it, and where the ledger names it.
    """
    ledger, seen = context.ledger(family), pointer.current(context, family)
    anchor = (seen.table.ledger_sequence, seen.table.ledger_head) if seen.table else None
    faults = [f"ledger: {fault}" for fault in ledger.verify(anchor=anchor)] + _ring_faults(context)
    absent: list[str] = []
    if faults:
        return Findings(faults, absent)
    state = ledger.state()
    for bundle, version in state.packaged.items():
        found = examine(context, family, bundle)
        faults += [f"bundle {version} {short(bundle)}: {fault}" for fault in found.faults]
        absent += [f"bundle {version} {short(bundle)}: {said}" for said in found.absent]
    documents = _examine_documents(context, family)
    faults, absent = faults + documents.faults, absent + documents.absent
    if seen.stable != state.current:
        faults.append(f"pointer: stable is {_name(seen.stable)}, the ledger says {_name(state.current)}")
    return Findings(faults, absent)


def _examine_documents(context: Context, family: str) -> Findings:
    """Everything that the ledger names beside the files of its bundles."""
    from registry.bundle import load_manifest

    ledger, checked = context.ledger(family), set[Digest]()
    for bundle in ledger.state().packaged:
        with suppress(NotFound, Corrupt):  # the bundle's own examination says so
            checked |= {entry.sha256 for entry in load_manifest(context.store, bundle).files.values()}
    found = Findings([], [])
    for one in unread(context.store, ledger.events(), checked=checked):
        word = _erased(context, family, one.digest) if isinstance(one.error, NotFound) else None
        if word is None:
            found.faults.append(str(one))
        else:
            found.absent.append(f"{one.named_by} {short(one.digest)}: {sentence(word)}")
    return found


def _ring_faults(context: Context) -> list[str]:
    """The key ring from its first version on, where a machine that is new here begins to read it."""
    try:
        load_ring(context.store, None)
    except DependencyFailed:
        raise
    except SoundcheckError as error:
        return [f"key ring: {error.what} ({error.where})" if error.where else f"key ring: {error.what}"]
    return []


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
