"""Selection of a saved step: one rule for loading, evaluation, conversion and the shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vfi_jax.errors import UsageError, UserError

BEST, NEWEST = "best", "newest"


def parse_step(text: str | None) -> int | str | None:
    """Reads the option `--step`: a number, "best" or "newest"; None where it is not given.

    Raises:
      UsageError: anything else.
    """
    if not text:
        return None
    if text not in (BEST, NEWEST) and not (text.isdecimal() and len(text) < 19):
        raise UsageError(f"--step {text[:50]}: a number, `{BEST}` or `{NEWEST}` is needed")
    return int(text) if text.isdecimal() else text


def select(steps: Sequence[int], step: int | str | None, score: Callable[[int], float | None]) -> int:
    """Selects one of the saved steps.

    Args:
      steps: numbers of the saved steps, rising; at least one.
      step: a number, "newest", or "best" by validation, which None stands for; the newest where none was validated.
      score: the validation score of a step, if it has one.

    Raises:
      UserError: there is no step of that number.
    """
    if step in (None, BEST):
        best = best_of(steps, score)
        return steps[-1] if best is None else best
    chosen = steps[-1] if step == NEWEST else step
    if chosen not in steps:
        raise UserError(f"has no step {chosen}; it has: {', '.join(map(str, steps))}")
    return int(chosen)


def best_of(steps: Sequence[int], score: Callable[[int], float | None]) -> int | None:
    """Returns the step with the highest score, the newest of equals; None where none has a score."""
    scored = [(value, step) for step in steps if (value := score(step)) is not None]
    return max(scored)[1] if scored else None
