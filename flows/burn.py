"""The burn watch: how fast the error budgets burn, asked of the gateways; its events are what automations act on.

Boundary: Prefect over tasks/burn.py. `prefect.yaml` runs it every few minutes. It needs neither store nor mirror.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from operations.burning import Burning
from operations.settings import find_settings
from tasks import burn as task


@flow(name="burn-watch", persist_result=False)
def watch() -> Any:
    """Does an error budget burn too fast? The flow fails where one does, and where no gateway can say."""
    try:
        found = task.look(find_settings().home)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    if not found:
        return Completed(message="no error budget burns too fast")
    return Failed(message="; ".join(sentence(one) for one in found))


def sentence(burning: Burning) -> str:
    """A budget that burns, with both of its windows."""
    return (
        f"{burning.action}: {burning.family} {burning.objective} burns {burning.rate:.1f} times too fast over "
        f"{burning.short_s / 60:g} and {burning.long_s / 60:g} minutes (due from {burning.due_from:g})"
    )
