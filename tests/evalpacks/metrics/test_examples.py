"""The examples in docstrings of metrics are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["alignment", "characters", "cost", "intents", "latency", "streaming"])
def test_docstring_examples(name: str) -> None:
    failures, examples = doctest.testmod(importlib.import_module(f"evalpacks.metrics.{name}"))
    assert (failures, examples > 0) == (0, True)
