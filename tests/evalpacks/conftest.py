"""Fixtures of this room: a pack in memory and a policy."""

from __future__ import annotations

import pytest
from evaluation_samples import make_pack, make_policy

from contracts.policy import FamilyPolicy
from evalpacks.pack import Pack


@pytest.fixture(scope="session")
def pack() -> Pack:
    return make_pack()


@pytest.fixture(scope="session")
def policy() -> FamilyPolicy:
    return make_policy()
