"""Fixtures of this room: a pack in memory and a policy."""

from __future__ import annotations

import pytest

from contracts.policy import FamilyPolicy
from evalpacks.pack import Pack
from tests.evalpacks.evaluation_samples import make_pack, make_policy


@pytest.fixture(scope="session")
def pack() -> Pack:
    return make_pack()


@pytest.fixture(scope="session")
def policy() -> FamilyPolicy:
    return make_policy()
