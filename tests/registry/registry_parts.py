"""Helpers of the registry's tests: folders as dictionaries, and damage behind a store's back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.registry_entry import RegistryEntry, ResourceEnvelope
from registry.store import Store
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.store.s3 import S3Store

Damage = Callable[[Store, str, int], None]
"""Flips one bit: of which store, of which key or digest, which bit."""


def flip_bit(store: Store, key: str, bit: int) -> None:
    """Damage one bit of an object (or blob, by its key) behind the store's back."""
    if isinstance(store, MemoryStore):
        store.objects[key] = flipped(store.objects[key], bit)
    elif isinstance(store, LocalStore):
        content = (store.root / key).read_bytes()
        (store.root / key).unlink()
        (store.root / key).write_bytes(flipped(content, bit))
    elif isinstance(store, S3Store):
        name = store.full_key(key)
        content = store.client.get_object(Bucket=store.bucket, Key=name)["Body"].read()
        store.client.put_object(Bucket=store.bucket, Key=name, Body=flipped(content, bit))
    else:
        raise TypeError(f"no way to damage a {type(store).__name__}")


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit changed; `bit` is counted around."""
    changed = bytearray(content)
    changed[bit // 8 % len(changed)] ^= 1 << (bit % 8)
    return bytes(changed)


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by relative path."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def registry_entry(version: str = "v1") -> RegistryEntry:
    """A whole registry entry."""
    digest = "12" * 32
    return RegistryEntry(
        model_id="asr-en",
        version=version,
        owner="open-vocabulary team",
        task="asr",
        base_model="none: trained from scratch",
        data_manifest=digest,
        training_code_sha="0" * 40,
        serving_code_sha="1" * 40,
        feature_contract=digest,
        input_schema="serving_api 1.1",
        output_schema="serving_api 1.1",
        serving_image=digest,
        resource_envelope=ResourceEnvelope(
            concurrency=2, peak_memory_mb=1, cpu_cores=1, price_usd_per_core_hour=1, capacity_sign_off="platform"
        ),
        rollback_target="none: first release",
        review_date="2027-01-01",
        on_call="speech-oncall",
        retention_policy="none",
        licence="MIT",
        languages=("en", "es"),
        train_manifest=digest,
        payload_digest="cd" * 32,
    )
