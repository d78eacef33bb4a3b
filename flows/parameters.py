"""Typed parameters of the deployments: what Prefect's Run form offers.

Boundary: reads params.yaml once, when a flow is imported.
"""

from __future__ import annotations

from enum import StrEnum

from operations.settings import find_settings

Family = StrEnum("Family", [(name, name) for name in find_settings().families])  # type: ignore[misc]
"""The families of params.yaml."""
