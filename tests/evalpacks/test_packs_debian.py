"""Debian packages without root: the cache, damaged packages, progress, and machines that have no apt."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from contracts.errors import DependencyFailed
from evalpacks.packs import debian


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyFailed) as error:
        debian.unpack(["some-package"], tmp_path / "cache")
    assert error.value.got == "apt-get is not on this machine"


def small_package(folder: Path, name: str) -> Path:
    """A Debian package with one file, made with dpkg-deb."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: small\n"
    )
    (tree / "hello.txt").write_text("hello")
    file = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(file)], check=True, capture_output=True)
    shutil.rmtree(tree)
    return file


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_in_the_cache_are_not_fetched(tmp_path: Path) -> None:
    small_package(tmp_path, "small")
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_damaged_package_is_removed_and_named(tmp_path: Path) -> None:
    file = small_package(tmp_path, "small")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DependencyFailed, match=r"small_1_all\.deb is damaged and was removed"):
        debian.unpack(["small"], tmp_path)
    assert not file.exists()
    assert not (tmp_path / "unpacked-small").exists()
