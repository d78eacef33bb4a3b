"""params.yaml in typed form: prices that a machine brings, and where models run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.document import Part
from contracts.errors import WrongCall
from contracts.policy import ServingSettings, StoreSettings
from operations.settings import Settings, find_settings

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = "asr-commands"


def project(root: Path, *, envelope: dict[str, Any] | None = None, **sections: Any) -> Path:
    """A folder with the repository's params.yaml, sections replaced, and the family's envelope changed."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text()) | sections
    params["families"][FAMILY]["envelope"].update(envelope or {})
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return root


def settings(root: Path) -> Settings:
    return Settings(root, root / ".soundcheck")


PRICES = {
    "small": {"usd_per_core_hour": 0.04, "usd_per_gb_hour": 0.005},
    "large": {"usd_per_core_hour": 0.1, "usd_per_gb_hour": 0.0},
}


@pytest.mark.parametrize(
    ("envelope", "core_hour", "gb_hour"),
    [
        ({"machine": "small"}, 0.04, 0.005),
        ({"machine": "large"}, 0.1, 0.0),
        ({"machine": "small", "price_usd_per_core_hour": 0.02}, 0.02, 0.005),  # its own price wins
        ({"machine": None, "price_usd_per_core_hour": 0.03}, 0.03, 0.0),  # no machine: no price for memory
    ],
)
def test_an_envelope_has_its_machine_s_prices(
    tmp_path: Path, envelope: dict[str, Any], core_hour: float, gb_hour: float
) -> None:
    found = settings(project(tmp_path, envelope=envelope, prices=PRICES)).policy(FAMILY).envelope
    assert (found.price_usd_per_core_hour, found.price_usd_per_gb_hour) == (core_hour, gb_hour)


def test_a_new_price_is_a_new_policy(tmp_path: Path) -> None:
    before = settings(project(tmp_path, envelope={"machine": "small"}, prices=PRICES)).policy(FAMILY)
    dearer = PRICES | {"small": {"usd_per_core_hour": 0.05, "usd_per_gb_hour": 0.005}}
    after = settings(project(tmp_path, envelope={"machine": "small"}, prices=dearer)).policy(FAMILY)
    assert before.digest() != after.digest()


def test_an_unknown_machine_names_those_known(tmp_path: Path) -> None:
    with pytest.raises(WrongCall) as refused:
        settings(project(tmp_path, envelope={"machine": "huge"}, prices=PRICES)).policy(FAMILY)
    assert refused.value.what == "the price table has no machine 'huge'"
    assert refused.value.where.startswith(f"families.{FAMILY}.envelope.machine in ")
    assert refused.value.expected == "large or small"
    assert refused.value.next_step == "name one of them, or add the machine to `prices`"


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        (
            {"prices": {"cpu-small": {"usd_per_core_hour": 0, "usd_per_gb_hour": 0}}},
            "prices.cpu-small.usd_per_core_hour",
        ),
        ({"prices": {"cpu-small": {"usd_per_core_hour": 1}}}, "prices.cpu-small.usd_per_gb_hour"),
        ({"compute": {"shard": 0}}, "compute.shard"),
        ({"compute": {"shards": 5}}, "compute.shards"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(tmp_path: Path, sections: dict[str, Any], where: str) -> None:
    found = settings(project(tmp_path, **sections))
    with pytest.raises(WrongCall, match=r"params\.yaml has a wrong value") as refused:
        _ = found.compute, found.policy(FAMILY)
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("environment", "dask"),
    [({}, "tcp://params:1"), ({"SOUNDCHECK_DASK": "tcp://variable:2"}, "tcp://variable:2"), ({"SOUNDCHECK_DASK": ""}, "tcp://params:1")],
)  # fmt: skip
def test_the_environment_names_the_scheduler_over_params(
    tmp_path: Path, environment: dict[str, str], dask: str
) -> None:
    root = project(tmp_path, compute={"shard": 7, "dask": "tcp://params:1"})
    found = find_settings({"SOUNDCHECK_ROOT": str(root), **environment})
    assert (found.compute.shard, found.compute.dask) == (7, dask)


def test_without_a_section_shards_run_on_this_machine(tmp_path: Path) -> None:
    root = project(tmp_path)
    params = yaml.safe_load((root / "params.yaml").read_text())
    del params["compute"]
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    assert settings(root).compute.model_dump() == {"shard": 100, "dask": None}


@pytest.mark.parametrize(("section", "typed"), [("serving", ServingSettings), ("store", StoreSettings)])
def test_every_key_is_named_and_explained_in_params(section: str, typed: type[Part]) -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    assert set(yaml.safe_load(text)[section]) == set(typed.model_fields)
    lines = text.split(f"\n{section}:")[1].split("\n")[1 : len(typed.model_fields) + 1]
    assert [line for line in lines if "  # " not in line] == []
