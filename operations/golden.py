"""The golden proof: a restored bundle answers its own fixtures as it did when it was packaged (R6.1, B5).

Boundary: restores through the verified cache; runs the bundle's runtime in a process of its own, or reads what running
gateways say of the workers that they have proved (serving/proving.py).
Invariants: a fixture that differs by more than declared refuses the bundle; a proof is of a process that
would answer, or of a fresh one, never of one that is gone; what serving/golden.py says of erased fixtures.
"""

from __future__ import annotations

from contracts.bundle import Golden
from contracts.digest import Digest, short
from contracts.errors import Refused
from operations import compute
from operations.context import Context, log
from registry.tombstones import noted
from serving.golden import Proof, compare, prompts, read_golden
from serving.presence import followers

__all__ = ["Proof", "compare", "prompts", "prove", "read_golden", "warm_proof"]


def warm_proof(context: Context, family: str, bundle: Digest) -> Proof | None:
    """The proof of the processes that would answer: those of every living gateway that follows the family (B5).

    None where no gateway follows it, or one has no worker of the bundle that is warm, ready and proved equal: it is
    then to be proved in a fresh process.
    """
    said = [mine.get("proved", {}).get(bundle) for mine in followers(context.home, family).values()]
    if not said or any(one is None or one["equal"] != one["expected"] for one in said):
        return None
    return Proof(said[0]["equal"], said[0]["expected"], (), said[0]["erased"])


def prove(context: Context, bundle: Digest) -> Proof:
    """Restore the bundle, hear its fixtures, refuse it when they differ or its outputs are not finite."""
    from registry.bundle import cached

    folder = cached(context.store, bundle, context.home / "cache")
    golden = read_golden(folder)
    context.progress("golden outputs", 0, 1)
    with compute.naming(f"bundle {short(bundle)}"):
        answers = compute.answers(folder / "payload", prompts(golden, folder))
    context.progress("golden outputs", 1, 1)
    proof = compare(golden, answers)
    if noted(folder):
        log.warning("bundle %s: golden fixtures erased, which prove nothing: %d", short(bundle), len(noted(folder)))
    if proof.different:
        raise Refused(
            "the golden outputs differ",
            where=f"bundle {short(bundle)}",
            got=f"{len(proof.different)} of {proof.expected}: " + ", ".join(proof.different[:5]),
            expected=f"every fixture within {_tolerance(golden)}",
            next_step="serve another bundle (soundcheck status shows them) and look at what changed in the runtime",
        )
    return proof._replace(erased=len(noted(folder)))


def _tolerance(golden: Golden) -> str:
    edits = f"{golden.max_word_edits} word edits"
    return f"{edits} and {golden.max_distance:g} of each number" if golden.max_distance else edits
