"""What the stories of the families name is there: a story that names nothing real ends minutes into a release."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from flows.stories import STORIES, Story
from operations.packs import BUILDERS
from operations.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", STORIES)
def test_a_story_names_what_is_there(name: str, tmp_path: Path) -> None:
    family, story = name.partition("/")[0], STORIES[name]
    assert Settings(ROOT, tmp_path).policy(family).family == family
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert set(story.stages) <= stages
    assert {name for names in story.packs for name in names} <= set(BUILDERS)
    assert all(importlib.util.find_spec(words[0]) for words in story.makers.values())


@pytest.mark.parametrize("name", STORIES)
def test_every_candidate_of_a_story_is_made(name: str) -> None:
    family, story = name.partition("/")[0], STORIES[name]
    made = set(story.makers) | _outputs(family, story)
    assert {version for version in (story.first, story.better, story.worse) if version} <= made


def _outputs(family: str, story: Story) -> set[str]:
    """Versions that the story's DVC stages write."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = [Path(out) for stage in story.stages for out in stages[stage]["outs"]]
    return {out.name for out in outs if out.parent.name == family}
