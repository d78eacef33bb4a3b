"""How a detector is trained: a recipe of params.yaml.

Boundary: pure.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from contracts.document import Document
from contracts.errors import WrongCall


class Recipe(Document):
    """One detector.

    Attributes:
        description: what it is, in a sentence.
        channels: width of its convolutions.
        steps, batch, learning_rate, seed: of the training.
        levels: how loud the clips are that it hears (speech.vad.clips.LEVELS_DB).
    """

    KIND: ClassVar[str] = "detector_recipe"

    description: str
    channels: PositiveInt
    steps: PositiveInt
    batch: PositiveInt = 64
    learning_rate: PositiveFloat
    levels: Annotated[tuple[str, ...], Field(min_length=1)]
    seed: int


def recipes(section: dict[str, Any]) -> dict[str, Recipe]:
    """`vad.detectors` of params.yaml; WrongCall names a wrong key."""
    found = {}
    for version, value in section.items():
        try:
            found[version] = Recipe.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise WrongCall(
                "a recipe does not parse", where=f"params.yaml, vad.detectors.{version}.{path}", got=first["msg"]
            ) from None
    return found
