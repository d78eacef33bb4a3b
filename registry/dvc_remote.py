"""Where `dvc push` puts content, and getting it back without DVC, its cache or a git checkout.

Boundary: reads `.dvc/config`; reads a remote through fsspec, the library DVC itself reads remotes with, and deletes
there the object it is asked to delete; writes the file it is asked to write.
Invariants: content is streamed to disk, and the file that was written is digested (MD5 and SHA-256); what has other
bytes than its name says is Corrupt and leaves no file; an address never carries credentials (fault 63).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from contracts.errors import Corrupt, DependencyFailed, Refused
from contracts.train_manifest import DvcRemote
from registry.dvc_objects import object_key
from registry.file_digests import Known, content_of
from registry.store.files import disk

NAME = "soundcheck"
"""The remote that lies in the store's own folder or bucket."""
BELOW_STORE = "dvc"
_LOCAL_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS)
"""What only the disk that is written to says."""
_FILE = "file://"
_S3_SETTINGS = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 2},  # s3fs itself tries five times
    "s3": {"addressing_style": "path"},
}


class Place(NamedTuple):
    """An address of objects: a folder (absolute) or a URL, the endpoint of its server, the AWS profile."""

    address: str
    endpoint: str | None = None
    profile: str | None = None


def place_of_store(store_url: str) -> Place | None:
    """Where data lies beside the blobs of a store; None for a store in memory."""
    if store_url.startswith(_FILE):
        return Place(str((Path(store_url.removeprefix(_FILE)) / BELOW_STORE).resolve()))
    parts = urlsplit(store_url)
    if parts.scheme != "s3":
        return None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    folder = f"{parts.path.strip('/')}/{BELOW_STORE}".lstrip("/")
    return Place(f"s3://{parts.netloc}/{folder}", options.get("endpoint"), options.get("profile"))


def configured(root: Path) -> tuple[str, Place] | None:
    """Name and place of the default remote in `.dvc/config` (`config.local` over it), None without one."""
    config = ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    except ConfigError as error:
        raise Refused(
            "DVC's configuration does not parse", where=str(root / ".dvc"), got=type(error).__name__
        ) from None
    name = config.get("core", "remote", fallback=None)
    section = f"'remote \"{name}\"'"
    url = config.get(section, "url", fallback=None)
    if name is None or url is None:
        return None
    address = _public(url) if "://" in url else str((root / ".dvc" / url).resolve())
    endpoint, profile = (config.get(section, option, fallback=None) for option in ("endpointurl", "profile"))
    return name, Place(address, _public(endpoint) if endpoint else None, profile)


def remote_of_project(root: Path, store_url: str) -> DvcRemote | None:
    """The default remote as a manifest records it, None without one.

    The store's own place has no address of its own, and a folder inside the project is given from there, so that
    equal releases on two machines have equal manifests.
    """
    found, own = configured(root), place_of_store(store_url)
    if found is None:
        return None
    name, (address, endpoint, _) = found
    if own and address == own.address:
        return DvcRemote(name=name, url=None)
    if "://" not in address and Path(address).is_relative_to(root.resolve()):
        address = Path(address).relative_to(root.resolve()).as_posix()
    return DvcRemote(name=name, url=address, endpoint=endpoint)


def place_of_remote(remote: DvcRemote, root: Path) -> Place | None:
    """Where a recorded remote lies; None where it is the store's own place."""
    if remote.url is None:
        return None
    return Place(remote.url if "://" in remote.url else str(root / remote.url), remote.endpoint)


def _public(url: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class DataRemote:
    """A remote that is read from, by the threads of one process; credentials come from where AWS tools look."""

    def __init__(self, place: Place) -> None:
        self.address = place.address
        options: dict[str, Any] = {}
        if place.address.startswith("s3://"):
            options = {"endpoint_url": place.endpoint, "profile": place.profile, "use_listings_cache": False,
                       "config_kwargs": _S3_SETTINGS}  # fmt: skip
        with self._answering("opened"):
            import fsspec

            self._files, self._base = fsspec.url_to_fs(place.address, **options)

    def has(self, md5: str) -> bool:
        """Whether an object is there (its content is not read)."""
        with self._answering(f"object {md5}"):
            return bool(self._files.exists(self._key(md5)))

    def read(self, md5: str) -> bytes:
        """A folder object's bytes, as they are."""
        with self._answering(f"object {md5}"):
            content: bytes = self._files.cat_file(self._key(md5))
            return content

    def copy(self, md5: str, target: Path, *, name: str) -> Known:
        """Write an object to a new file, synced, and digest that file; Corrupt, naming `name`, leaves none."""
        try:
            with self._answering(f"object {md5}"):
                self._files.get_file(self._key(md5), str(target))
            found = content_of(target)
            if found.md5 != md5:
                raise Corrupt(
                    "an object of the data remote is not what its digest says",
                    where=f"{self.address}, {name}",
                    got=f"md5 {found.md5}",
                    expected=f"md5 {md5}",
                    next_step="remove the object there and `soundcheck data push` from a machine that has the data",
                )
            with disk("training data could not be written", str(target)):
                _sync(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return found

    def remove(self, md5: str) -> bool:
        """Delete an object; whether there was one. Old versions that a bucket keeps go by the bucket's own rules."""
        with self._answering(f"object {md5}"):
            if not self._files.exists(self._key(md5)):
                return False
            self._files.rm_file(self._key(md5))
            return True

    def _key(self, md5: str) -> str:
        return f"{self._base}/{object_key(md5)}"

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Whatever the file system of some cloud raises, as DependencyFailed with the next step."""
        try:
            yield
        except FileNotFoundError:
            raise DependencyFailed(
                "the data remote lacks an object",
                where=f"{self.address}, {what}",
                expected="all that `dvc push` sent when this was released",
                next_step="`soundcheck data push` from a machine that has the data, then run the same command again",
            ) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _LOCAL_FAULTS:
                raise
            raise DependencyFailed(
                "the data remote does not answer",
                where=f"{self.address}, {what}",
                got=type(error).__name__,
                next_step="is it up, and may this identity read there? then run the same command again",
            ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
