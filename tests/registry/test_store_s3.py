"""The bucket store when the network or the server misbehaves: faults 10 to 20 on a real S3 server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, NotFound, Refused, WrongCall
from registry.store import BlobInfo, Store, open_store, s3
from registry.store.keys import blob_key
from registry.store.memory import MemoryStore
from registry.store.s3 import PART_BYTES, S3Store
from registry.store.self_test import self_test
from tests.registry.registry_parts import flip_bit
from tests.servers.bad_network import Plan, between
from tests.servers.seaweed import SERVING, S3Server, s3_client


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def behind(s3_server: S3Server, bucket: S3Store, plan: Plan) -> Iterator[S3Store]:
    """A publisher's store behind a network that follows `plan`."""
    with between(s3_server.endpoint, plan) as endpoint:
        client = s3_client(s3_server._replace(endpoint=endpoint))
        yield S3Store(client, bucket.bucket, secrets.token_hex(8))


def large(parts: float, seed: int = 0) -> bytes:
    return bytes((index * 31 + seed) % 251 for index in range(4096)) * int(parts * PART_BYTES / 4096)


def test_an_answer_that_was_lost_is_settled_by_reading_back(behind: S3Store, plan: Plan) -> None:  # fault 12
    plan.lose = 1
    behind.create("ledger/a", b"event")
    assert behind.read("ledger/a") == b"event"
    plan.lose = 1
    first = behind.swap("asr", b"v1", expected=None)
    plan.lose = 1
    second = behind.swap("asr", b"v2", expected=first.version)
    assert behind.pointer("asr") == second
    plan.lose = 1
    digest = behind.put_blob(b"weights")
    assert behind.read_blob(digest) == b"weights"


def test_a_lost_answer_does_not_make_another_writers_bytes_ours(behind: S3Store, plan: Plan) -> None:  # fault 12
    behind.create("ledger/a", b"theirs")
    plan.lose = 1
    with pytest.raises(AlreadyExists):
        behind.create("ledger/a", b"ours")
    assert behind.read("ledger/a") == b"theirs"


def test_409_is_tried_again_and_412_is_settled(behind: S3Store, plan: Plan) -> None:  # fault 13
    plan.refuse, plan.status = 3, 409
    behind.create("ledger/a", b"event")
    writes = [path for method, path in plan.seen if method == "PUT"]
    assert len(writes) == 4
    with pytest.raises(AlreadyExists):
        behind.create("ledger/a", b"other")
    assert len([path for method, path in plan.seen if method == "PUT"]) == 5, "412 is not tried again"


def test_409_without_end_is_a_clear_error(
    behind: S3Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:  # fault 13
    monkeypatch.setattr("random.uniform", lambda low, _high: low)
    plan.refuse, plan.status = 100, 409
    with pytest.raises(DependencyFailed) as failed:
        behind.create("ledger/a", b"event")
    assert failed.value.what == "the store did not settle a conditional write"
    assert failed.value.got == "409 for 8 tries"


def test_a_storm_of_503_is_outlasted(behind: S3Store, plan: Plan) -> None:  # fault 14
    plan.refuse, plan.methods = 3, ("PUT", "GET", "HEAD")
    behind.create("ledger/a", b"event")
    assert behind.read("ledger/a") == b"event"


def test_a_server_that_is_away_is_a_bounded_failure_that_can_be_resumed(
    bucket: S3Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fault 10
    away = S3Store(s3_client(s3_server._replace(endpoint="http://127.0.0.1:9")), bucket.bucket)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    for call in (
        lambda: away.read("a"), lambda: away.create("a", b""), lambda: away.pointer("a"),
        lambda: away.put_blob(b"x"), lambda: list(away.list("")), lambda: away.copy_blob("0" * 64, tmp_path / "out"),
    ):  # fmt: skip
        with pytest.raises(DependencyFailed) as failed:
            call()
        assert failed.value.got == "EndpointConnectionError"
        assert "run the same command again: it goes on where it stopped" in failed.value.next_step
    assert not (tmp_path / "out").exists()


def test_a_server_that_hangs_is_a_time_out(
    behind: S3Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:  # fault 11
    plan.hold_s = 4.0
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "READ_S", 2)
    endpoint = behind.client.meta.endpoint_url
    quick = S3Store(_client(endpoint), behind.bucket)
    with pytest.raises(DependencyFailed) as failed:
        quick.read("ledger/a")
    assert failed.value.got == "ReadTimeoutError"


def _client(endpoint: str) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="publisher-key", aws_secret_access_key="publisher-secret",
        region_name="us-east-1", config=s3.settings(),
    )  # fmt: skip


def test_a_short_body_under_status_200_is_no_answer(behind: S3Store, plan: Plan, tmp_path: Path) -> None:  # fault 16
    digest = behind.put_blob(large(0.1))
    plan.methods, plan.cut = ("GET",), 1
    with pytest.raises(DependencyFailed):
        behind.copy_blob(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    behind.copy_blob(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large(0.1)


def test_an_acknowledged_blob_that_is_missing_later_is_not_found(bucket: S3Store) -> None:  # fault 15
    digest = bucket.put_blob(b"acknowledged")
    bucket.client.delete_object(Bucket=bucket.bucket, Key=bucket.full_key(blob_key(digest)))
    with pytest.raises(NotFound):
        bucket.check_blob(digest)


def test_a_listing_goes_on_over_pages(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:  # fault 17
    store = S3Store(bucket.client, bucket.bucket, secrets.token_hex(8))
    for number in range(7):
        store.create(f"ledger/{number}", b"")
    paginator = store.client.get_paginator

    def small_pages(name: str) -> Any:
        found = paginator(name)
        paginate = found.paginate
        found.paginate = lambda **options: paginate(**options, PaginationConfig={"PageSize": 3})
        return found

    monkeypatch.setattr(store.client, "get_paginator", small_pages)
    assert len(list(store.list("ledger/"))) == 7


def test_credentials_that_do_not_serve_say_so(bucket: S3Store, s3_server: S3Server) -> None:  # fault 18
    stranger = S3Store(s3_client(s3_server, ("publisher-key", "wrong")), bucket.bucket)
    with pytest.raises(DependencyFailed) as failed:
        stranger.read("a")
    assert failed.value.got == "SignatureDoesNotMatch"
    assert failed.value.next_step.startswith("correct the secret key")
    assert "wrong" not in str(failed.value)


def test_the_serving_identity_reads_and_lists_and_writes_nothing(bucket: S3Store, s3_server: S3Server) -> None:
    prefix = secrets.token_hex(8)
    publisher = S3Store(bucket.client, bucket.bucket, prefix)
    serving = S3Store(s3_client(s3_server, SERVING), bucket.bucket, prefix)
    digest = publisher.put_blob(b"weights")
    pointer = publisher.swap("asr", b"table", expected=None)
    assert serving.read_blob(digest) == b"weights"
    assert serving.pointer("asr") == pointer
    assert len(list(serving.list(""))) == 2
    writes: list[Callable[[], object]] = [
        lambda: serving.create("ledger/a", b"x"),
        lambda: serving.swap("asr", b"mine", expected=pointer.version),
        lambda: serving.put_blob(b"mine"),
        lambda: serving.delete_blob(digest),
    ]
    for write in writes:
        with pytest.raises(DependencyFailed) as failed:
            write()
        assert failed.value.got == "AccessDenied"
    assert publisher.pointer("asr") == pointer
    assert publisher.has_blob(digest)


@pytest.mark.parametrize("parts", [0.5, 1, 2.5])
def test_blobs_of_every_size_travel_whole(bucket: S3Store, tmp_path: Path, parts: float) -> None:
    content = large(parts)
    (tmp_path / "source").write_bytes(content)
    digest = bucket.put_blob(tmp_path / "source")
    bucket.copy_blob(digest, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content
    assert bucket.check_blob(digest) == len(content)


def test_a_bit_that_flips_in_any_part_is_found(bucket: S3Store, tmp_path: Path) -> None:  # fault 21
    (tmp_path / "source").write_bytes(large(2.5, seed=9))
    digest = bucket.put_blob(tmp_path / "source")
    for bit in (0, 8 * PART_BYTES + 3, 8 * (2 * PART_BYTES + 11)):
        flip_bit(bucket, blob_key(digest), bit)
        with pytest.raises(Corrupt):
            bucket.copy_blob(digest, tmp_path / "target")
        assert not (tmp_path / "target").exists()
        flip_bit(bucket, blob_key(digest), bit)
    assert bucket.check_blob(digest) == len(large(2.5))


@pytest.mark.parametrize("parts", [0.1, 1.5])
def test_a_file_that_changes_while_it_is_stored_leaves_no_blob(
    bucket: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: float
) -> None:  # fault 27
    store = S3Store(bucket.client, bucket.bucket, secrets.token_hex(8))
    source = tmp_path / "source"
    source.write_bytes(large(parts))
    blob_info = store.blob_info

    def changed_meanwhile(digest: str) -> BlobInfo | None:
        source.write_bytes(large(parts, seed=1))
        return blob_info(digest)

    monkeypatch.setattr(store, "blob_info", changed_meanwhile)
    with pytest.raises(DependencyFailed, match="a file changed while it was stored"):
        store.put_blob(source)
    assert list(store.list("blobs/")) == []


class LastWins(MemoryStore):
    """A store that overwrites instead of creating once."""

    def create(self, key: str, content: bytes) -> None:
        self.objects[key] = content


def test_the_self_test_passes_a_store_that_excludes(store: Store) -> None:
    self_test(store)
    written = list(store.list(""))
    assert written, "it asks by writing"
    assert all(key.removeprefix("pointers/").startswith("selftest/") for key in written)


def test_the_self_test_refuses_a_store_that_overwrites() -> None:  # fault 20
    with pytest.raises(Refused) as refused:
        self_test(LastWins())
    assert str(refused.value) == (
        "this store does not keep the promise that releases rest on: create-once writes of one key\n"
        "  where: memory://memory\n"
        "  got: 8 of 8 racing writers succeeded\n"
        "  expected: exactly one\n"
        "  next step: use a store with atomic conditional writes (Amazon S3, SeaweedFS, MinIO), or file://DIR"
    )


def test_the_self_test_refuses_a_server_that_does_not_know_conditions(behind: S3Store, plan: Plan) -> None:  # fault 20
    plan.ignore_conditions = True
    with pytest.raises(Refused, match="racing writers succeeded"):
        self_test(behind)


def test_an_address_opens_the_bucket_that_it_names(
    bucket: S3Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    prefix = secrets.token_hex(8)
    address = f"s3://{bucket.bucket}/{prefix}?endpoint={s3_server.endpoint}"
    opened = open_store(address, Path("/nowhere"))
    opened.create("a/b", b"x")
    assert opened.url == address
    assert S3Store(bucket.client, bucket.bucket, prefix).read("a/b") == b"x"


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://bucket/a?secret=x"])
def test_an_address_without_a_bucket_is_a_wrong_call(url: str) -> None:
    with pytest.raises(WrongCall) as wrong:
        open_store(url, Path("/nowhere"))
    assert wrong.value.expected == "s3://BUCKET/PREFIX, perhaps with ?endpoint=URL&profile=NAME"
