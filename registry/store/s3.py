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
import os
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qs, urlsplit

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import DependencyFailed, NotFound, WrongCall
from registry.store import BlobInfo, Pointer
from registry.store.digested import DigestedFile, check_unchanged
from registry.store.errors import conflict, corrupt_blob, nested, taken
from registry.store.files import disk, new_file, write_at
from registry.store.keeping import kept, put
from registry.store.keys import BLOBS, blob_key, blob_of_key, check_key, check_prefix, pointer_key
from registry.store.pointers import decode, encode

PART_BYTES = 8 << 20
"""Bytes a part of a large blob; smaller blobs are one request."""
PARTS_AT_ONCE = 8
"""Parts of one blob under way at a time."""
PARTS_IN_MEMORY = 16
"""Parts of all blobs that one store downloads at a time, so that memory stays bounded however many are large."""
UNFINISHED_S = 24 * 3600.0
"""Age after which an upload that was begun and never ended is a dead writer's."""
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
        self._slots = threading.BoundedSemaphore(PARTS_IN_MEMORY)

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
            put(self, digest, lambda: self._put_once(blob_key(digest), source), time.time())
            return digest
        with disk("the store could not write a blob", f"{self.url}, from {source}"), source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            put(self, digest, lambda: self._upload(blob_key(digest), file, digest), time.time())
        return digest

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        return self._size(blob_key(digest)) is not None

    def keep_blob(self, digest: Digest) -> bool:
        """Whether the blob is there; if so it counts as put now."""
        return kept(self, digest, time.time())

    def renew_blob(self, digest: Digest) -> bool:
        """Make a blob as young as one that is put now, by a copy onto itself; False where there is none."""
        key = blob_key(digest)
        arguments = {"Bucket": self.bucket, "Key": self.full_key(key), "MetadataDirective": "REPLACE"}
        source = {"Bucket": self.bucket, "Key": self.full_key(key)}
        with self._request("the store could not keep a blob", key):
            return self._found(lambda: self.client.copy_object(CopySource=source, **arguments)) is not None

    def blob_info(self, digest: Digest) -> BlobInfo | None:
        """A blob's size and age, None where there is none."""
        head = self._head(blob_key(digest))
        return None if head is None else BlobInfo(digest, int(head["ContentLength"]), head["LastModified"].timestamp())

    def blobs(self) -> Iterator[BlobInfo]:
        """Every blob, in no order."""
        prefix = self._root + BLOBS
        with self._request("the store could not be listed", BLOBS):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    if digest := blob_of_key(entry["Key"].removeprefix(self._root)):
                        yield BlobInfo(digest, int(entry["Size"]), entry["LastModified"].timestamp())

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies, in bounded memory, and return its size in bytes; NotFound or Corrupt."""
        return sum(len(chunk) for chunk in self._chunks(digest))

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        return b"".join(self._chunks(digest))

    def copy_blob(self, digest: Digest, target: Path, *, sync: bool = True) -> None:
        """Write a blob to a new file, digested as it is written, then synced (S2); NotFound or Corrupt, and no file."""
        with new_file(target, sync=sync) as descriptor:
            for _ in self._chunks(digest, descriptor):
                pass

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob; one that is not there is no error."""
        key = blob_key(digest)
        with self._request("the store could not remove a blob", key):
            self.client.delete_object(Bucket=self.bucket, Key=self.full_key(key))

    def abort_incomplete(self, *, older_than_s: float = UNFINISHED_S) -> int:
        """End the uploads in parts that a dead writer left, which cost storage and are in no listing; how many."""
        prefix, ended = f"{self._root}{BLOBS}", 0
        with self._request("unfinished uploads could not be ended", prefix):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            for upload in [one for page in pages for one in page.get("Uploads", ())]:
                if (datetime.now(UTC) - upload["Initiated"]).total_seconds() >= older_than_s:
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    ended += 1
        return ended

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
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def _head(self, key: str) -> Any:
        with self._request("the store could not read", key):
            return self._found(lambda: self.client.head_object(Bucket=self.bucket, Key=self.full_key(key)))

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
            check_unchanged(sha256_bytes(content), digest, self.url)
            self._put_once(key, content)
            return
        with self._request("the store could not write a blob", key):
            from boto3.s3.transfer import TransferConfig

            self.client.upload_fileobj(
                DigestedFile(file, digest, self.url), self.bucket, self.full_key(key),
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=TransferConfig(
                    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE,
                ),
            )  # fmt: skip

    def _chunks(self, digest: Digest, target: int | None = None) -> Iterator[bytes]:
        """A blob's bytes in order; with a descriptor each chunk stands in that file by the time it is handed out.

        A large blob comes in parts, several at once, each written by the thread that fetched it. Raises NotFound, and
        at the end Corrupt where the bytes are not the blob's own.
        """
        hasher = hashlib.sha256()
        first, size = self._first_part(digest)
        if target is not None:
            self._write(target, first, 0)
        for chunk in chain((first,), self._parts(blob_key(digest), range(len(first), size, PART_BYTES), size, target)):
            hasher.update(chunk)
            yield chunk
        if hasher.hexdigest() != digest:
            raise corrupt_blob(self.url, hasher.hexdigest(), digest)

    def _write(self, target: int, content: bytes, start: int) -> None:
        with disk("a blob could not be written", self.url):
            write_at(target, content, start)

    def _first_part(self, digest: Digest) -> tuple[bytes, int]:
        """The first part of a blob and how many bytes it has in all: one request for all but large blobs."""
        key = blob_key(digest)
        with self._request("the store could not read a blob", key):
            answer = self._found(lambda: self._ranged(key, 0, PART_BYTES))
            if answer is None:
                raise NotFound(f"no blob {short(digest)}", where=self.url)
            content: bytes = answer["Body"].read()
        return content, int(answer.get("ContentRange", f"/{len(content)}").rpartition("/")[2])

    def _parts(self, key: str, starts: range, size: int, target: int | None) -> Iterator[bytes]:
        """The parts that begin at `starts`, in order, as many under way as there is memory for."""
        if not starts:
            return
        waiting, under_way = deque(starts), deque[Future[bytes]]()
        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            try:
                while waiting or under_way:
                    while waiting and len(under_way) < PARTS_AT_ONCE and self._slots.acquire(blocking=not under_way):
                        start = waiting.popleft()
                        end = min(start + PART_BYTES, size)
                        under_way.append(pool.submit(self._part, key, start, end, target))
                    yield under_way[0].result()
                    under_way.popleft()
                    self._slots.release()
            finally:
                for _ in under_way:
                    self._slots.release()

    def _part(self, key: str, start: int, end: int, target: int | None) -> bytes:
        with self._request("the store could not read a blob", key):
            content: bytes = self._ranged(key, start, end)["Body"].read()
        if target is not None:
            self._write(target, content, start)
        return content

    def _ranged(self, key: str, start: int, end: int) -> Any:
        """Bytes `start` to before `end` of an object, all there are where it has fewer."""
        from botocore.exceptions import ClientError

        where = {"Bucket": self.bucket, "Key": self.full_key(key)}
        try:
            return self.client.get_object(**where, Range=f"bytes={start}-{end - 1}")
        except ClientError as error:
            if start == 0 and _status(error) == 416:  # an empty object has no first byte
                return self.client.get_object(**where)
            raise

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
        max_pool_connections=2 * PARTS_IN_MEMORY,
        response_checksum_validation="when_required",  # every byte is digested here already
        s3={"addressing_style": "path"},
    )


@lru_cache(maxsize=8)
def _client(endpoint: str | None, profile: str | None) -> Any:
    import boto3

    return boto3.Session(profile_name=profile).client("s3", endpoint_url=endpoint, config=settings())
