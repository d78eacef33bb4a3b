"""Wheelhouses: which names a wheel can have, and what pip is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contracts.train_manifest import FileEntry
from contracts.wheelhouse import Pin, Wheelhouse, pin_of

ENTRY = FileEntry(sha256="a" * 64, size=3)


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [
        ("click-8.5.1-py3-none-any.whl", Pin("click", "8.5.1")),
        ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", Pin("torch", "2.13.0+cpu")),
        ("In_Toto.Attestation-0.9.3-py3-none-any.whl", Pin("in-toto-attestation", "0.9.3")),
        ("python_dateutil-2.9.0.post0-py2.py3-none-any.whl", Pin("python-dateutil", "2.9.0.post0")),
        ("a-1-2build-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", Pin("a", "1")),
    ],
)
def test_a_wheel_says_what_it_is_of(wheel: str, expected: Pin) -> None:
    assert pin_of(wheel) == expected


@pytest.mark.parametrize(
    "name",
    ["../a-1-py3-none-any.whl", "a/b-1-py3-none-any.whl", "a-1.tar.gz", "a-1-py3-none-any.whl\n", "-a-1-py3-none.whl",
     "a-1 --index-url=x-py3-none-any.whl", "requirements.txt", ""],
)  # fmt: skip
def test_a_name_that_no_wheel_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is not the name of a wheel"):
        Wheelhouse(lock="b" * 64, platform="cp311-linux-x86_64", wheels={name: ENTRY})


def test_pip_is_told_every_digest() -> None:
    names = ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl", "click-8.5.1-py3-none-any.whl")
    wheelhouse = Wheelhouse(lock="b" * 64, platform="cp311-linux-x86_64", wheels=dict.fromkeys(names, ENTRY))
    digest = "a" * 64
    assert wheelhouse.requirements() == (f"click==8.5.1 --hash=sha256:{digest}\nnumpy==2.4.6 --hash=sha256:{digest}\n")
    assert wheelhouse.size() == 6
