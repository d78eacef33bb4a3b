"""The change that an incident leaves behind, or that drift proposes, held against the contract of its place.

    params.patch.yaml   merged into params.yaml it is a policy of the family whose canary can be judged
    pack.yaml           a card of a pack that has a pack's name
    pack.slice.yaml     merged into the family's first pack's card it is a card, its slices are of columns it names
    fixtures.yaml       names a slice, a metric that is compared, how many, from where
    alerts.yaml         Prometheus rules on series that gateways show, or that serving/alerts.yaml records
    runbook.md          says where to look, what to do and when to roll back

Boundary: reads params.yaml, the pack's card and serving/alerts.yaml; writes nothing.
Invariants: a file that does not fit its place is one WrongCall that names the file, the place in it and what is right
there; nothing of it is ever half accepted. Source: coverage 43.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, TypeAdapter, ValidationError

from contracts.document import Part
from contracts.errors import WrongCall
from contracts.incident import SafeSlice
from contracts.incident_settings import Metric
from contracts.policy import CanaryPlan
from operations.context import Context
from operations.settings import Settings, laid_over

Line = Annotated[str, StringConstraints(pattern=r"\S")]
STEPS = ("Look: `soundcheck ", "Do: `soundcheck ", "Roll back when: ")
"""What a runbook cannot do without."""
_Read = TypeVar("_Read")


class OfFamily(Protocol):
    """What a change is about: an incident, or a proposal of drift."""

    @property
    def family(self) -> str:
        """Whose packs and policy it is for."""
        ...


class FixtureOrder(Part):
    """Fixtures that a pack is to get; `source` says where their audio may come from."""

    slice: SafeSlice
    metric: Metric | Literal["any"]
    count: PositiveInt
    source: Line
    expected: Line


class FixtureFile(Part):
    """fixtures.yaml: the order, and how many answers of two bundles differed on the fixtures there are."""

    fixtures: Annotated[tuple[FixtureOrder, ...], Field(min_length=1)]
    differ_between_bundles: NonNegativeInt | None
    of: NonNegativeInt | None


class PackLists(Part):
    """pack.slice.yaml: what goes into lists of a pack's card."""

    slices: Annotated[tuple[str, ...], Field(min_length=1)]
    protected: tuple[str, ...] = ()
    min_support: dict[Literal["speakers", "words"], PositiveInt]


class Annotations(Part):
    """What an alert tells the one who is called."""

    summary: Line
    command: Annotated[str, StringConstraints(pattern=r"^soundcheck \S")]


class AlertRule(Part):
    """A Prometheus alerting rule of ours."""

    alert: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$")]
    expr: Line
    lasts: Annotated[str, StringConstraints(pattern=r"^[0-9]+[smhd]$"), Field(alias="for")]
    labels: dict[Literal["severity"], Literal["page", "ticket"]]
    annotations: Annotations


class AlertGroup(Part):
    """A group of rules."""

    name: Line
    rules: Annotated[tuple[AlertRule, ...], Field(min_length=1)]


class AlertFile(Part):
    """alerts.yaml."""

    groups: Annotated[tuple[AlertGroup, ...], Field(min_length=1)]


def check(context: Context, about: OfFamily, name: str, text: str) -> None:
    """Hold a change against the place that it is for.

    Args:
        name: the file's name, a key of CHECKS; text: what would be written.

    Raises WrongCall where it does not fit.
    """
    CHECKS[name](context, about, name, text)


def _wrong(name: str, place: str, got: str, expected: str = "") -> NoReturn:
    raise WrongCall(
        "a change does not fit the place that it is for",
        where=f"{name}: {place}" if place else name,
        got=got,
        expected=expected,
        next_step="correct it there; nothing was written",
    )


def _read(name: str, text: str, model: type[_Read]) -> _Read:
    try:
        return TypeAdapter(model).validate_python(_yaml(name, text))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        _wrong(name, ".".join(map(str, first["loc"])), first["msg"])


def _yaml(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        _wrong(name, "", str(error).split("\n", maxsplit=1)[0], "YAML")


# ---- params.yaml ----------------------------------------------------------------------------------------------------
def _params(context: Context, about: OfFamily, name: str, text: str) -> None:
    value = metrics = _yaml(name, text)
    path = ("families", about.family, "canary", "metrics")
    for depth, key in enumerate(path):
        found = ", ".join(map(str, metrics)) if isinstance(metrics, Mapping) else type(metrics).__name__
        if found != key:
            _wrong(name, ".".join(path[:depth]), found, key)
        metrics = metrics[key]
    patched = Settings(context.settings.root, context.settings.home)
    patched.__dict__["params"] = laid_over(context.settings.params, value)
    try:
        plan = patched.policy(about.family).canary
    except WrongCall as error:
        _wrong(name, error.where, error.got, error.expected)
    _judgeable(name, plan)


def _judgeable(name: str, plan: CanaryPlan) -> None:
    """Whether the judge can read the plan; that telemetry has its columns, the policy has made sure."""
    from monitoring.canary import Judge

    try:
        Judge(plan, started_s=0.0)
    except WrongCall as error:
        _wrong(name, f"canary.{error.where}", error.what)


# ---- packs ----------------------------------------------------------------------------------------------------------
def _slice(context: Context, about: OfFamily, name: str, text: str) -> None:
    from evalpacks.slices import parse

    lists = _read(name, text, PackLists)
    card = card_of(context, about.family)
    columns = {*card["slices"], *lists.slices}
    for field, listed in (("slices", lists.slices), ("protected", lists.protected)):
        card[field] = list(dict.fromkeys((*card[field], *listed)))
    for one in lists.protected:
        try:
            named = set(parse(one))
        except WrongCall as error:
            _wrong(name, "protected", error.got, error.expected)
        if not named <= columns:
            _wrong(name, "protected", one, "a slice of " + " or ".join(sorted(columns)))
    _read(name, yaml.safe_dump(card | {"min_support": dict(lists.min_support)}), _meta())


def _new_card(_context: Context, _about: OfFamily, name: str, text: str) -> None:
    _read(name, text, _meta())


def _meta() -> Any:
    from evalpacks.pack import PackMeta

    return PackMeta


def card_of(context: Context, family: str) -> dict[str, Any]:
    """The card of the family's first pack; a blank one where the pack is not built."""
    gates = context.settings.policy(family).quality
    path = context.settings.pack(gates[0].pack) / "pack.yaml" if gates else None
    if path is None or not path.is_file():
        filled = dict.fromkeys(("title", "source", "licence", "consent"), "not built")
        return {"name": "pack", **filled, "languages": ["en"], "sample_rate_hz": 16_000, "slices": [], "protected": []}
    card: dict[str, Any] = yaml.safe_load(path.read_text())
    return {"slices": [], "protected": [], **card}


def _fixtures(_context: Context, _about: OfFamily, name: str, text: str) -> None:
    said = _read(name, text, FixtureFile)
    differ, of = said.differ_between_bundles, said.of
    if (of is None) != (differ is None) or (differ or 0) > (of or 0):
        _wrong(name, "differ_between_bundles", f"{differ} of {of}", "at most as many as `of`")


# ---- alerts and runbooks --------------------------------------------------------------------------------------------
def _alerts(_context: Context, _about: OfFamily, name: str, text: str) -> None:
    known, taken = _series()
    rules = [
        (f"groups.{at}.rules.{number}", rule)
        for at, group in enumerate(_read(name, text, AlertFile).groups)
        for number, rule in enumerate(group.rules)
    ]
    for place, rule in rules:
        if rule.alert in taken:
            _wrong(name, f"{place}.alert", rule.alert, "a name that serving/alerts.yaml does not have")
        asked = set(re.findall(r"\bsoundcheck[a-z0-9_:]+", rule.expr))
        if not asked or asked - known:
            _wrong(
                name, f"{place}.expr", ", ".join(sorted(asked - known)) or "no series", "series of docs/telemetry.md"
            )
        if any(rule.expr.count(opened) != rule.expr.count(shut) for opened, shut in ("()", "{}", "[]")):
            _wrong(name, f"{place}.expr", rule.expr, "as many closing brackets as opening ones")


def _series() -> tuple[set[str], set[str]]:
    """Names of the series that rules may ask for, and of the alerts that there are."""
    from importlib.resources import files

    from serving.metrics import Metrics

    rules = yaml.safe_load((files("serving") / "alerts.yaml").read_text())["groups"]
    listed = [rule for group in rules for rule in group["rules"]]
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    shown = {
        f"{one.name}{suffix}" for one in Metrics().registry.collect() for suffix in suffixes.get(one.type, ("",))
    }  # fmt: skip
    recorded = {rule["record"] for rule in listed if "record" in rule}
    return shown | recorded, {rule["alert"] for rule in listed if "alert" in rule}


def _runbook(_context: Context, _about: OfFamily, name: str, text: str) -> None:
    for step in STEPS:
        if not re.search(rf"^\d+\. {re.escape(step)}\S", text, flags=re.MULTILINE):
            _wrong(name, step.partition(":")[0], "no such step", f"a line `N. {step}...`")


CHECKS: Mapping[str, Callable[[Context, OfFamily, str, str], None]] = {
    "params.patch.yaml": _params, "pack.slice.yaml": _slice, "pack.yaml": _new_card, "fixtures.yaml": _fixtures,
    "alerts.yaml": _alerts, "runbook.md": _runbook,
}  # fmt: skip
