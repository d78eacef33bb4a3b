"""The store in an S3 bucket: create-once by conditional PUT, pointers by ETag, blobs in parts.

Boundary: the only module that imports boto3; one bucket, below one prefix.
Invariants: an object is written with `If-None-Match: *`, so that of many writers one wins; a pointer with `If-Match`,
so that of several swaps of one version one wins; every upload names its SHA-256, so that the server refuses bytes that
changed on the way; every download is digested here, whatever the server says. An answer that was lost is settled by
reading back: a 412 may be our own success (faults 12, 13). A listing proves nothing (fault 17).
Source: Amazon S3 User Guide, "Conditional writes"; release-algorithm R5.3, R9, S2; faults 10 to 20.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qs, urlsplit

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import DependencyFailed, NotFound, WrongCall
from registry.store import Pointer
from registry.store.errors import conflict, corrupt_blob, nested, taken
from registry.store.files import disk, new_file, write_all
from registry.store.keys import blob_key, check_key, check_prefix, pointer_key
from registry.store.pointers import decode, encode

PART_BYTES = 8 << 20
"""Bytes a part of a large blob; smaller blobs are one request."""
PARTS_AT_ONCE = 8
"""Parts of one blob under way at a time; so much of it is in memory at most, times PART_BYTES."""
CONNECT_S, READ_S = 5, 60
"""Seconds for a connection, for an answer: contended conditional PUTs of some servers take up to 6 s."""
ATTEMPTS = 6
"""Tries of one request, with jittered pauses that double (fault 14)."""
CONFLICT_TRIES = 8
"""Tries of a conditional write that the server answers with 409: somebody else is writing this key right now."""
Answer = TypeVar("Answer")

_NEXT_STEP = {
    "AccessDenied": "give this identity the right, or use the publisher's: the serving identity reads and lists",
    "InvalidAccessKeyId": "correct the access key (AWS_ACCESS_KEY_ID, or the profile of the store's address)",
    "SignatureDoesNotMatch": "correct the secret key (AWS_SECRET_ACCESS_KEY, or the profile of the store's address)",
    "ExpiredToken": "renew the credentials, then run the same command again: it goes on where it stopped",
    "NoSuchBucket": "create the bucket, or correct store.url",
}


class S3Store:
    """A store below `s3://BUCKET/PREFIX`, shared by all that may reach the bucket.

    Attributes:
        url: the address that opens it again (endpoint and profile as they were given; never a key).
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "", *, url: str = "") -> None:
        self.bucket = bucket
        self.url = url or f"s3://{bucket}/{prefix}".rstrip("/")
        self.client = client
        self._root = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._folders: set[str] = set()

    def create(self, key: str, content: bytes) -> None:
        """Write an object once. Equal bytes again: no error. Other bytes: AlreadyExists."""
        check_key(key)
        self._check_nesting(key)
        if self._put_once(key, content):
            return
        existing = self._get(key, f"no object has the key {key!r}")
        if existing != content:
            raise taken(self.url, key, existing, content)

    def read(self, key: str) -> bytes:
        """An object's bytes; NotFound."""
        return self._get(check_key(key), f"no object has the key {key!r}")

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted (see the Protocol)."""
        wanted = self._root + check_prefix(prefix)
        found: list[str] = []
        with self._request("the store could not be listed", prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=wanted):
                found += [entry["Key"].removeprefix(self._root) for entry in page.get("Contents", ())]
        return iter(sorted(found))

    def put_blob(self, source: bytes | Path) -> Digest:
        """Store content under its own digest; storing it again is free."""
        if isinstance(source, bytes):
            digest = sha256_bytes(source)
            if not self.has_blob(digest):
                self._put_once(blob_key(digest), source)
            return digest
        with disk("the store could not write a blob", f"{self.url}, from {source}"), source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not self.has_blob(digest):
                file.seek(0)
                self._upload(blob_key(digest), file, digest)
        return digest

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        return self._size(blob_key(digest)) is not None

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies, in bounded memory, and return its size in bytes; NotFound or Corrupt."""
        return self._pour(digest, lambda _chunk: None)

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        content = io.BytesIO()
        self._pour(digest, content.write)
        return content.getvalue()

    def copy_blob(self, digest: Digest, target: Path) -> None:
        """Write a blob to a new file, digested as it is written, then synced (S2); NotFound or Corrupt, and no file."""
        with new_file(target) as descriptor:
            self._pour(digest, lambda chunk: write_all(descriptor, chunk))

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob; one that is not there is no error."""
        key = blob_key(digest)
        with self._request("the store could not remove a blob", key):
            self.client.delete_object(Bucket=self.bucket, Key=self.full_key(key))

    def pointer(self, name: str) -> Pointer | None:
        """A pointer's content and version, None before its first swap; Corrupt when its bytes are not as written."""
        found = self._pointer(name)
        return found[0] if found else None

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        """Move a pointer whose version is `expected` (None: it does not exist); Conflict names the current version.

        After DependencyFailed the pointer is old or new: read it to know which.
        """
        key = pointer_key(name)
        found = self._pointer(name)
        version = found[0].version if found else None
        if version != expected:
            raise conflict(self.url, name, version, expected)
        counter = int(version.partition("-")[0]) + 1 if version else 0
        stored = encode(content, counter, nonce=secrets.token_hex(8))
        condition = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
        if not self._put(key, stored, condition):
            now = self._pointer(name)
            if now is None or now[2] != stored:  # else the 412 answered the second try of what had succeeded
                raise conflict(self.url, name, now[0].version if now else None, expected)
        return decode(stored, f"{self.url}, {key}")

    def full_key(self, key: str) -> str:
        """The key in the bucket."""
        return self._root + key

    def _pointer(self, name: str) -> tuple[Pointer, str, bytes] | None:
        """Pointer, ETag and stored bytes."""
        key = pointer_key(name)
        with self._request("the store could not read a pointer", key):
            answer = self._found(lambda: self.client.get_object(Bucket=self.bucket, Key=self.full_key(key)))
            stored = answer["Body"].read() if answer else b""
        if answer is None:
            return None
        return decode(stored, f"{self.url}, {key}"), answer["ETag"], stored

    def _get(self, key: str, missing: str) -> bytes:
        with self._request("the store could not read", key):
            answer = self._found(lambda: self.client.get_object(Bucket=self.bucket, Key=self.full_key(key)))
            content: bytes | None = answer["Body"].read() if answer else None
        if content is None:
            raise NotFound(missing, where=self.url)
        return content

    def _size(self, key: str) -> int | None:
        """Bytes of an object, None where there is none."""
        with self._request("the store could not read", key):
            answer = self._found(lambda: self.client.head_object(Bucket=self.bucket, Key=self.full_key(key)))
        return None if answer is None else int(answer["ContentLength"])

    def _found(self, request: Callable[[], Answer]) -> Answer | None:
        """The answer, None for 404."""
        from botocore.exceptions import ClientError

        try:
            return request()
        except ClientError as error:
            if _status(error) == 404 and error.response["Error"]["Code"] != "NoSuchBucket":
                return None
            raise

    def _put_once(self, key: str, content: bytes) -> bool:
        return self._put(key, content, {"IfNoneMatch": "*"})

    def _put(self, key: str, content: bytes, condition: dict[str, str]) -> bool:
        """A conditional PUT: True where it wrote, False where the condition did not hold (412).

        409 says that another conditional write of this key is under way: it is tried again (fault 13).
        """
        from botocore.exceptions import ClientError

        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        arguments: dict[str, Any] = {"ChecksumSHA256": checksum, **condition}
        for attempt in range(CONFLICT_TRIES):
            with self._request("the store could not write", key):
                try:
                    self.client.put_object(Bucket=self.bucket, Key=self.full_key(key), Body=content, **arguments)
                    return True
                except ClientError as error:
                    # 404: AWS answers so when the object of an If-Match is gone.
                    if _status(error) == 412 or (_status(error) == 404 and "IfMatch" in condition):
                        return False
                    if _status(error) != 409:
                        raise
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise DependencyFailed(
            "the store did not settle a conditional write",
            where=f"{self.url}, key {key}",
            got=f"409 for {CONFLICT_TRIES} tries",
            next_step="run the same command again",
        )

    def _upload(self, key: str, file: BinaryIO, digest: Digest) -> None:
        """A file as one object, in parts where it is large; nothing appears where it changed meanwhile (fault 27)."""
        size = os.fstat(file.fileno()).st_size
        if size <= PART_BYTES:
            content = file.read()
            _unchanged(sha256_bytes(content), digest, self.url)
            self._put_once(key, content)
            return
        with self._request("the store could not write a blob", key):
            from boto3.s3.transfer import TransferConfig

            self.client.upload_fileobj(
                _Digested(file, digest, self.url), self.bucket, self.full_key(key),
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=TransferConfig(
                    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE,
                ),
            )  # fmt: skip

    def _pour(self, digest: Digest, write: Callable[[bytes], object]) -> int:
        """Hand a blob's bytes on in order, digesting them; its size in bytes.

        A large blob comes in parts, several at once: a thread a part, handed on in order as they come.
        """
        key = blob_key(digest)
        size = self._size(key)
        if size is None:
            raise NotFound(f"no blob {short(digest)}", where=self.url)
        hasher = hashlib.sha256()
        for chunk in self._small(key) if size <= PART_BYTES else self._parts(key, size):
            hasher.update(chunk)
            with disk("a blob could not be written", f"{self.url}, blob {short(digest)}"):
                write(chunk)
        if hasher.hexdigest() != digest:
            raise corrupt_blob(self.url, hasher.hexdigest(), digest)
        return size

    def _small(self, key: str) -> Iterator[bytes]:
        yield self._get(key, f"no blob at {key}")

    def _parts(self, key: str, size: int) -> Iterator[bytes]:
        starts = iter(range(0, size, PART_BYTES))
        under_way: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            for start in starts:
                under_way.append(pool.submit(self._part, key, start, min(start + PART_BYTES, size)))
                if len(under_way) == PARTS_AT_ONCE:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def _part(self, key: str, start: int, end: int) -> bytes:
        with self._request("the store could not read a blob", key):
            answer = self.client.get_object(
                Bucket=self.bucket, Key=self.full_key(key), Range=f"bytes={start}-{end - 1}"
            )
            content: bytes = answer["Body"].read()
            return content

    def _check_nesting(self, key: str) -> None:
        """S3 has no folders, other stores have: a key that is both would not survive a move between them."""
        with self._request("the store could not be listed", key):
            below = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self._root}{key}/", MaxKeys=1)
        if below.get("KeyCount"):
            raise nested(f"{self.url}, key {key}")
        folders = [key[:place] for place, character in enumerate(key) if character == "/"]
        for folder in folders:
            if folder not in self._folders and self._size(folder) is not None:
                raise nested(f"{self.url}, key {key}")
            self._folders.add(folder)

    @contextmanager
    def _request(self, what: str, where: str) -> Iterator[None]:
        """Turn what the network and the server refuse into DependencyFailed with the next step."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response["Error"].get("Code", "unknown"))
            step = _NEXT_STEP.get(code, "look at the store's server, then run the same command again: it goes on")
            raise DependencyFailed(what, where=f"{self.url}, {where}", got=code, next_step=step) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise DependencyFailed(
                what,
                where=f"{self.url}, {where}",
                got=type(error).__name__,
                next_step="is the store's server up? run the same command again: it goes on where it stopped",
            ) from error


class _Digested(io.RawIOBase):
    """A file that is read once, from front to back; the read that finds its end fails where the bytes were others."""

    def __init__(self, file: BinaryIO, digest: Digest, url: str) -> None:
        self._file = file
        self._digest = digest
        self._url = url
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._hasher.update(chunk)
        if not chunk or size < 0 or len(chunk) < size:
            _unchanged(self._hasher.hexdigest(), self._digest, self._url)
        return chunk


def _unchanged(got: Digest, digest: Digest, url: str) -> None:
    if got != digest:
        raise DependencyFailed(
            "a file changed while it was stored",
            where=url,
            got=f"sha256 {short(got)}",
            expected=f"sha256 {short(digest)}",
            next_step="let nothing write to it, then run the same command again",
        )


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))


def open_s3(url: str) -> S3Store:
    """The store at `s3://BUCKET/PREFIX[?endpoint=URL&profile=NAME]`; credentials come from where AWS tools look.

    Raises WrongCall for an address without a bucket or with another option.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme != "s3" or not parts.netloc or set(options) - {"endpoint", "profile"}:
        raise WrongCall(
            "the store's address is not one of a bucket",
            where="params.yaml: store.url",
            got=repr(url),
            expected="s3://BUCKET/PREFIX, perhaps with ?endpoint=URL&profile=NAME",
            next_step="correct store.url",
        )
    return S3Store(_client(options.get("endpoint"), options.get("profile")), parts.netloc, parts.path, url=url)


def settings() -> Any:
    """How requests are sent: time-outs, tries, connections, path-style addresses (servers without wildcard names)."""
    from botocore.config import Config

    return Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=4 * PARTS_AT_ONCE,
        s3={"addressing_style": "path"},
    )


@lru_cache(maxsize=8)
def _client(endpoint: str | None, profile: str | None) -> Any:
    import boto3

    return boto3.Session(profile_name=profile).client("s3", endpoint_url=endpoint, config=settings())
