"""Tombstones in the store: written once, read when content is missing, checked against the key ring.

Boundary: the store and the folder it is handed; no clock. registry/store/keeping.py keeps erased content out.
Invariants: words about one blob are numbered and created once: even ones erase, odd ones are a consent given anew; what
a person is told of an erasure was signed by an operator or an approver; a file that a bundle runs from is never passed
over in silence.
Source: release-algorithm S5.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.errors import Corrupt, NotFound, Refused
from contracts.tombstone import ABSENT, OPTIONAL, AbsentFile, AbsentFiles, Tombstone
from contracts.train_manifest import FileEntry
from registry.envelopes import parse_envelope, statement_of, verify_envelope
from registry.keyring import EVERY_REASON, Keyring, Position
from registry.signing import KeySigner, sign
from registry.store import Store
from registry.store.files import replace_file
from registry.store.keeping import ever_erased, tombstone_key, tombstones

TOMBSTONE_TYPE = "https://soundcheck.invalid/predicates/tombstone/v1"
"""Predicate of an operator's or approver's signature: a Tombstone; the subject is the blob."""
SIGNERS = ("operator", "approver")


def standing(store: Store, digest: Digest) -> bytes | None:
    """The envelope of the tombstone that a blob lies under, None where it lies under none."""
    count = tombstones(store, digest)
    return store.read(tombstone_key(digest, count - 1)) if count % 2 else None


def say(store: Store, word: Tombstone, signer: KeySigner) -> bytes:
    """Sign a word about a blob and write it, where it says something new; the envelope that stands then.

    Raises Refused for a consent where nothing was erased, AlreadyExists where somebody else was faster.
    """
    count = tombstones(store, word.blob)
    if word.action == "erase" and count % 2:
        return store.read(tombstone_key(word.blob, count - 1))
    if word.action == "consent" and count % 2 == 0:
        raise Refused("this content is not erased", where=store.url, got=short(word.blob))
    envelope = sign(word, {"blob": word.blob}, TOMBSTONE_TYPE, signer)
    store.create(tombstone_key(word.blob, count), envelope)
    return envelope


def said(envelope: bytes) -> Tombstone:
    """What an envelope says, whoever signed it: for notes; `checked` is for words that count."""
    body = statement_of(parse_envelope(envelope), where="a tombstone")
    return Tombstone.parse(body.predicate_bytes(), where="a tombstone")


def checked(envelope: bytes, keyring: Keyring, digest: Digest, at: Position | None) -> Tombstone:
    """A tombstone of this blob, its signature verified; `at` is where its event stands in a ledger.

    Raises Refused or Corrupt for one that does not count.
    """
    statement = verify_envelope(
        envelope, keyring, predicate_type=TOMBSTONE_TYPE, subject=digest, at=at, kept=EVERY_REASON
    )
    word = statement.document(Tombstone)
    names = ", ".join(key.name for key in statement.signers if not set(SIGNERS) & set(key.roles))
    if names:
        raise Refused(f"{names} may not sign a tombstone", expected="an operator or an approver")
    if word.blob != digest or word.action != "erase":
        raise Corrupt("a tombstone is of another blob", got=short(word.blob), expected=short(digest))
    return word


def absent_file(store: Store, path: str, digest: Digest) -> AbsentFile | None:
    """Why a blob is not there, None where nobody erased it. Raises Refused where its bundle runs from the file."""
    envelope = standing(store, digest)
    if envelope is None:
        return None
    word = said(envelope)
    if not path.startswith(OPTIONAL):
        raise Refused(
            "a bundle cannot be restored: a file that it runs from was erased",
            where=f"{store.url}, {path}",
            got=sentence(word),
            expected="every file that the bundle runs from",
            next_step="restore another bundle (soundcheck status), or release a candidate without this content",
        )
    return AbsentFile(sha256=digest, at=word.at, by=word.by, reason=word.reason)


def erased_among(store: Store, files: Mapping[str, FileEntry]) -> dict[str, AbsentFile]:
    """Files of a bundle that were erased, by path. Raises Refused where the bundle runs from one of them."""
    listed = ever_erased(store)
    asked = {path: absent_file(store, path, entry.sha256) for path, entry in files.items() if entry.sha256 in listed}
    return {path: said for path, said in asked.items() if said}


def take_out(folder: Path, bundle: Digest, absent: Mapping[str, AbsentFile]) -> None:
    """Delete erased files of a restored folder, which says so before they go (S5)."""
    note = AbsentFiles(bundle=bundle, files={**noted(folder), **absent})
    replace_file(folder / ABSENT, note.canonical(), scratch=folder.parent)
    for path in absent:
        (folder / path).unlink(missing_ok=True)
        with suppress(OSError):  # it has other files
            (folder / path).parent.rmdir()


def read_named(store: Store, digest: Digest, what: str) -> bytes:
    """A blob that a document names; Refused with the tombstone's words where it was erased, else as read_blob."""
    try:
        return store.read_blob(digest)
    except NotFound:
        envelope = standing(store, digest)
        if envelope is None:
            raise
        raise Refused(
            f"{what} cannot be had: it was erased", where=f"{store.url}, blob {short(digest)}",
            got=sentence(said(envelope)), expected="content that nobody has withdrawn",
        ) from None  # fmt: skip


def sentence(word: Tombstone | AbsentFile) -> str:
    """What people are told."""
    return f"erased on {word.at[:10]} by {word.by}: {word.reason}"


def absent_in(folder: Path, manifest: BundleManifest) -> dict[str, AbsentFile]:
    """What the note in a restored folder says is absent of this bundle.

    A file that the bundle runs from is never among them, whatever the note says.
    """
    if ABSENT in manifest.files:
        return {}
    return {
        path: entry
        for path, entry in noted(folder).items()
        if path.startswith(OPTIONAL) and path in manifest.files and manifest.files[path].sha256 == entry.sha256
    }


def noted(folder: Path) -> dict[str, AbsentFile]:
    """What the note in a restored folder says, by path; {} without a note that can be read."""
    try:
        return AbsentFiles.parse((folder / ABSENT).read_bytes(), where=ABSENT).files
    except (Corrupt, FileNotFoundError):
        return {}
