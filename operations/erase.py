"""S5 Withdrawn consent: a blob is erased for good by a signed tombstone, and what depended on it says so.

Boundary: the store, the ledgers, the bundles cached in the home folder, DVC's objects (operations/erase_data.py). The
caches of other machines follow when a bundle is next used there; packs and restored folders are the caller's to delete.
Invariants: the tombstone is written before anything is deleted, so that a killed erasure is run again to its end and
nothing can store the content meanwhile; every ledger whose bundles or train manifests name the blob has an `erase`
event; a document of the chain of evidence, and a file that users are served from, are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

from contracts.bundle import BundleManifest
from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import NotFound, Refused, WrongCall
from contracts.tombstone import OPTIONAL, AbsentFile, Tombstone
from contracts.train_manifest import TrainManifest
from operations import keys, pointer
from operations.context import Context, log
from operations.erase_data import Copies, remove_copies, utterances
from registry.bundle import load_manifest
from registry.documents import get_document
from registry.garbage import names_in
from registry.keyring import EnrolledKey
from registry.signing import KeySigner
from registry.tombstones import SIGNERS, said, say, take_out


class Use(NamedTuple):
    """A bundle that has the blob: where, and whether it can run without."""

    family: str
    bundle: Digest
    version: str
    paths: tuple[str, ...]

    @property
    def unusable(self) -> bool:
        """Whether the bundle runs from one of these files."""
        return not all(path.startswith(OPTIONAL) for path in self.paths)


class Erased(NamedTuple):
    """What was erased: the tombstone's words, who had the blob; `trained`: families whose training data it is or lists.

    `copies`: what became of DVC's objects.
    """

    blob: Digest
    by: str
    at: str
    reason: str
    uses: tuple[Use, ...]
    trained: tuple[str, ...]
    copies: Copies = Copies()


def erase(context: Context, blob: Digest, *, key_name: str, reason: str) -> Erased:
    """Erase a blob; run again, it goes on where it stopped.

    Raises Refused for a key that is neither operator's nor approver's, for a document of the chain of evidence, and for
    a file that users are served from; NotFound for a blob that nobody has; WrongCall without a reason; DependencyFailed
    where a data remote does not answer, and the blob is left for the next run then.
    """
    signer = _signer(context, key_name)
    _require_reason(reason)
    uses, heard = tuple(_uses(context, blob)), list(_trained(context, blob))
    trained = tuple(dict.fromkeys(family for family, _ in heard))
    _refuse_needed(context, blob, uses)
    if not uses and not trained and not context.store.has_blob(blob):
        raise NotFound(f"no blob {short(blob)}, and no family names one", where=context.store.url)
    word = Tombstone(action="erase", blob=blob, reason=reason, by=signer.name, key_id=signer.key_id,
                     at=context.timestamp())  # fmt: skip
    envelope = say(context.store, word, signer)
    word = said(envelope)
    for family in sorted({use.family for use in uses} | set(trained)):
        _record(context, family, "erase", envelope, word, [use for use in uses if use.family == family])
    copies = remove_copies(context, [manifest for _, manifest in heard], blob)  # while the content tells its MD5
    context.store.delete_blob(blob)
    for use in uses:
        _purge(context, use, word)
    return Erased(blob, word.by, word.at, word.reason, uses, trained, copies)


def consent(context: Context, blob: Digest, *, key_name: str, reason: str) -> Erased:
    """Let erased content be stored again, because consent was given anew; the content itself must be put again."""
    signer = _signer(context, key_name)
    _require_reason(reason)
    uses = tuple(_uses(context, blob))
    trained = tuple(dict.fromkeys(family for family, _ in _trained(context, blob)))
    word = Tombstone(action="consent", blob=blob, reason=reason, by=signer.name, key_id=signer.key_id,
                     at=context.timestamp())  # fmt: skip
    envelope = say(context.store, word, signer)
    for family in sorted({use.family for use in uses} | set(trained)):
        _record(context, family, "consent", envelope, word, [use for use in uses if use.family == family])
    return Erased(blob, word.by, word.at, word.reason, uses, trained)


def _signer(context: Context, name: str) -> KeySigner:
    signer = keys.load(context, name)
    enrolled: EnrolledKey | None = keys.ring(context).by_id(signer.key_id)
    if enrolled is None or enrolled.revoked or not set(SIGNERS) & set(enrolled.roles):
        keys.require_role(context, signer, "operator")  # says what the key lacks
    return signer


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise WrongCall("an erasure needs a reason", expected='--reason "consent withdrawn by ..."')


def _families(context: Context) -> list[str]:
    """Every family with a ledger, those that params.yaml no longer names included."""
    listed = {key.split("/")[1] for key in context.store.list("ledger/")}
    return sorted(listed | set(context.settings.families))


def _uses(context: Context, blob: Digest) -> Iterator[Use]:
    for family in _families(context):
        for bundle, version in context.ledger(family).state().packaged.items():
            files = load_manifest(context.store, bundle).files
            if paths := tuple(path for path, entry in files.items() if entry.sha256 == blob):
                yield Use(family, bundle, version, paths)


def _trained(context: Context, blob: Digest) -> Iterator[tuple[str, TrainManifest]]:
    """Train manifests that name the blob, or whose data manifest lists it as an utterance; with their families."""
    for family in _families(context):
        events = context.ledger(family).events()
        digests = dict.fromkeys(event.outputs.get("train_manifest") for event in events if event.step == "capture")
        for digest in filter(None, digests):
            manifest = get_document(context.store, TrainManifest, digest)
            if blob in names_in(manifest.canonical()) or utterances(context, manifest, blob):
                yield family, manifest


def _refuse_needed(context: Context, blob: Digest, uses: tuple[Use, ...]) -> None:
    for family in _families(context):
        for event in context.ledger(family).events():
            if blob in event.inputs.values() or blob in event.outputs.values():
                raise Refused(
                    "a document of the chain of evidence cannot be erased",
                    where=f"family {family}, event {event.sequence}",
                    got=short(blob),
                    expected="a file of a bundle, or data",
                    next_step="erase the file that holds the content; a document names it by digest alone",
                )
    for use in uses:
        table = pointer.current(context, use.family).table
        if use.unusable and table and use.bundle in (table.stable, table.canary and table.canary.bundle):
            raise Refused(
                "users are served from this file",
                where=f"{use.family} {use.version}, {use.paths[0]}",
                got="its bundle is stable or canary",
                expected="a bundle that nobody is routed to",
                next_step=f"release a candidate without it, or go back (soundcheck rollback {use.family}), then erase",
            )


def _record(context: Context, family: str, step: str, envelope: bytes, word: Tombstone, uses: list[Use]) -> None:
    """The family's event, once for each envelope."""
    ledger, name = context.ledger(family), sha256_bytes(envelope)
    if any(event.step == step and event.outputs.get("tombstone") == name for event in ledger.events()):
        return
    ledger.append(
        step, "complete", at=context.timestamp(), outputs={"tombstone": context.store.put_blob(envelope)},
        data={"actor": word.by, "blob": word.blob, "bundles": [use.bundle for use in uses],
              "unusable": [use.bundle for use in uses if use.unusable]},
    )  # fmt: skip


def _purge(context: Context, use: Use, word: Tombstone) -> None:
    """Take the file out of this home's cache: the whole bundle where it cannot run without."""
    folder = context.home / "cache" / "bundles" / use.bundle
    if use.unusable:
        shutil.rmtree(folder, ignore_errors=True)
        manifest: BundleManifest = load_manifest(context.store, use.bundle)
        shutil.rmtree(context.home / "cache" / "payloads" / manifest.payload_digest, ignore_errors=True)
        return
    if not folder.is_dir():
        return
    absent = AbsentFile(sha256=word.blob, at=word.at, by=word.by, reason=word.reason)
    take_out(folder, use.bundle, dict.fromkeys(use.paths, absent))
    log.info("bundle %s in the cache is without %s now", short(use.bundle), ", ".join(use.paths))
