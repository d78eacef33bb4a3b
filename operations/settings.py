"""Where an installation's files lie, and its params.yaml in typed form.

Boundary: reads params.yaml and the environment; writes nothing.
Invariants: unknown keys of params.yaml are refused with their place; a family's policy is the defaults with its own
section over them, key by key; the prices of a family's machine stand in its policy, so that the policy's digest covers
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from contracts.document import Part
from contracts.errors import WrongCall
from contracts.policy import FamilyPolicy, Ports, ServingSettings, StoreSettings
from operations.canary_columns import check_columns

PARAMS = "params.yaml"
_TRAINING = {"corpus", "candidates", "quantized", "speakers", "vad", "cascade", "voices", "assistant"}
"""Read by the modules that make data and candidates (dvc.yaml), typed there."""
_SECTIONS = (
    _TRAINING
    | {"drift", "incident"}
    | {"store", "ports", "serving", "compute", "prices", "mlflow", "lineage", "telemetry"}
    | {"defaults", "families"}
)  # fmt: skip


class ComputeSettings(Part):
    """Where models run over packs: utterances a shard, and the Dask scheduler (None: processes of this machine)."""

    shard: PositiveInt = 100
    dask: str | None = None


class MlflowSettings(Part):
    """MLflow's database: `sqlite` (a file below the home folder), or `postgresql://USER@HOST/DATABASE`."""

    backend: str = "sqlite"


class LineageSettings(Part):
    """The OpenLineage collector that ledger events are forwarded to (None: none), and how long it may take to answer.

    OPENLINEAGE_URL goes over the address; OPENLINEAGE_API_KEY is the bearer token, which has no place in a file.
    """

    url: str | None = None
    timeout_s: PositiveFloat = 5.0


class TelemetrySettings(Part):
    """How many days telemetry rows are kept."""

    days: PositiveFloat = 30.0


class MachinePrice(Part):
    """A row of the price table: US dollars for a core and for a gigabyte of memory, each for an hour."""

    usd_per_core_hour: PositiveFloat
    usd_per_gb_hour: NonNegativeFloat


_Section = TypeVar(
    "_Section",
    StoreSettings,
    Ports,
    ServingSettings,
    ComputeSettings,
    MlflowSettings,
    LineageSettings,
    TelemetrySettings,
    MachinePrice,
)
_Own = TypeVar("_Own", bound=Part)


class Settings:
    """One installation: `root` holds params.yaml, candidates/ and data/; `home` holds all that Soundcheck writes.

    `dask` and `mlflow` (a database's address, which may hold a password) go over what params.yaml names.
    """

    def __init__(self, root: Path, home: Path, dask: str | None = None, mlflow: str | None = None) -> None:
        self.root = root
        self.home = home
        self._dask = dask
        self._mlflow = mlflow

    @cached_property
    def params(self) -> dict[str, Any]:
        """params.yaml as read; WrongCall where it is not a mapping or has an unknown section."""
        path = self.root / PARAMS
        try:
            value = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise WrongCall("params.yaml does not parse", where=str(path), got=str(error).split("\n")[0]) from None
        unknown = sorted(set(value or {}) - _SECTIONS)
        if not isinstance(value, dict) or unknown:
            raise WrongCall(
                "params.yaml has an unknown section",
                where=str(path),
                got=", ".join(unknown),
                expected=", ".join(sorted(_SECTIONS)),
                next_step="correct its name",
            )
        return value

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the families, in the order of params.yaml."""
        return tuple(self.params["families"])

    def policy(self, family: str) -> FamilyPolicy:
        """The family's release policy.

        Raises WrongCall for a family that does not exist, a wrong value, and a canary that telemetry cannot tell about.
        """
        if family not in self.families:
            raise WrongCall(
                f"there is no family {family!r}",
                where=str(self.root / PARAMS),
                expected=" or ".join(self.families),
                next_step="name one of them, or add the family to params.yaml",
            )
        merged = laid_over(self.params["defaults"], self.params["families"][family])
        merged["quality"] = [self._served_by(gate) for gate in merged.get("quality", [])]
        merged["envelope"] = self._priced(merged.get("envelope", {}), family)
        try:
            policy = FamilyPolicy.model_validate({"family": family, **merged})
        except ValidationError as error:
            raise self._malformed(f"families.{family}", error) from None
        check_columns(policy.canary, f"families.{family}.canary")
        return policy

    def _served_by(self, gate: Mapping[str, Any]) -> dict[str, Any]:
        """A gate on a pack that cannot be had here is put to the pack named `instead`, in sight of every reader."""
        chosen = dict(gate)
        instead = chosen.pop("instead", None)
        if instead and not self.pack(chosen["pack"]).is_dir() and self.pack(instead).is_dir():
            chosen["pack"] = instead
        return chosen

    def _priced(self, envelope: Mapping[str, Any], family: str) -> dict[str, Any]:
        """An envelope that names a machine has that machine's prices; a price that stands there itself wins."""
        machine = envelope.get("machine")
        if machine is None:
            return dict(envelope)
        table = self.params.get("prices") or {}
        if machine not in table:
            raise WrongCall(
                f"the price table has no machine {machine!r}",
                where=f"families.{family}.envelope.machine in {self.root / PARAMS}",
                expected=" or ".join(table) or "a section `prices`",
                next_step="name one of them, or add the machine to `prices`",
            )
        price = self._parsed(f"prices.{machine}", MachinePrice, table[machine])
        return {
            "price_usd_per_core_hour": price.usd_per_core_hour,
            "price_usd_per_gb_hour": price.usd_per_gb_hour,
            **envelope,
        }

    @cached_property
    def store(self) -> StoreSettings:
        """The store's address."""
        return self._section("store", StoreSettings)

    @cached_property
    def ports(self) -> Ports:
        """Ports of the embedded servers."""
        return self._section("ports", Ports)

    @cached_property
    def serving(self) -> ServingSettings:
        """The gateway's settings."""
        return self._section("serving", ServingSettings)

    @cached_property
    def compute(self) -> ComputeSettings:
        """Where models run over packs."""
        named = self._section("compute", ComputeSettings)
        return named.model_copy(update={"dask": self._dask}) if self._dask else named

    @property
    def mlflow_backend(self) -> str:
        """Where MLflow keeps its database."""
        return self._mlflow or self._section("mlflow", MlflowSettings).backend

    @cached_property
    def lineage(self) -> LineageSettings:
        """Where ledger events are forwarded to."""
        return self._section("lineage", LineageSettings)

    @cached_property
    def telemetry(self) -> TelemetrySettings:
        """How long telemetry is kept."""
        return self._section("telemetry", TelemetrySettings)

    def of_family(self, section: str, model: type[_Own], family: str, **over: object) -> _Own:
        """A family's own part of a section (`families`) over its `defaults`; `over` goes over both.

        Raises WrongCall for a wrong value.
        """
        table = self.params.get(section) or {}
        own = (table.get("families") or {}).get(family) or {}
        merged = {**laid_over(table.get("defaults") or {}, own), **over}
        try:
            return model.model_validate(merged)
        except ValidationError as error:
            raise self._malformed(f"{section}.{family}", error, model.__module__) from None

    def pack(self, name: str) -> Path:
        """The folder of an eval pack."""
        return self.root / "data" / "packs" / name

    def _section(self, name: str, model: type[_Section]) -> _Section:
        return self._parsed(name, model, self.params.get(name, {}))

    def _parsed(self, name: str, model: type[_Section], value: object) -> _Section:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise self._malformed(name, error) from None

    def _malformed(
        self, section: str, error: ValidationError, module: str = "contracts.policy or operations.settings"
    ) -> WrongCall:
        first = error.errors(include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        return WrongCall(
            "params.yaml has a wrong value",
            where=f"{section}.{path}",
            got=first["msg"],
            next_step=f"correct it; {module} says what is allowed",
        )


def laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with another over it, key by key at every depth."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def find_settings(environment: Mapping[str, str] = os.environ, start: Path | None = None) -> Settings:
    """The installation: SOUNDCHECK_ROOT, else the nearest folder upward that has params.yaml.

    The home folder is SOUNDCHECK_HOME, else `.soundcheck` in the root; SOUNDCHECK_DASK names the scheduler that shards
    run on, SOUNDCHECK_MLFLOW_BACKEND the database of MLflow.
    """
    here = (start or Path.cwd()).resolve()
    named = environment.get("SOUNDCHECK_ROOT")
    folders = [Path(named).resolve()] if named else [here, *here.parents]
    root = next((folder for folder in folders if (folder / PARAMS).is_file()), None)
    if root is None:
        raise WrongCall(
            "this is not a Soundcheck project",
            where=str(folders[0]),
            got=f"no {PARAMS} here or above",
            next_step="go to the project's folder, or set SOUNDCHECK_ROOT",
        )
    home = environment.get("SOUNDCHECK_HOME")
    return Settings(
        root,
        Path(home).resolve() if home else root / ".soundcheck",
        environment.get("SOUNDCHECK_DASK"),
        environment.get("SOUNDCHECK_MLFLOW_BACKEND"),
    )
