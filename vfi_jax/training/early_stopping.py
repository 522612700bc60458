"""Early stopping: a run whose validations stop improving ends before its last step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vfi_jax.config import EarlyStopping


def describe(config: EarlyStopping) -> str:
    """Describes the rule for the summary of a run."""
    gain = f" by more than {config.min_gain:g} dB" if config.min_gain else ""
    verb = "do" if config.patience > 1 else "does"
    return f"after {_validations(config.patience)} that {verb} not improve on the best score{gain}"


def reason(config: EarlyStopping, scores: Sequence[tuple[int, float]]) -> str:
    """Returns why a run ends now; "" if it goes on.

    The whole history decides, and nothing else, so that a run that was killed decides as one that was not.

    Args:
      config: of the recipe.
      scores: the scored steps so far, rising, each with its PSNR in dB.
    """
    best, at, waited = -math.inf, 0, 0
    for step, score in scores:
        if score > best + config.min_gain:
            best, at, waited = score, step, 0
        else:
            waited += 1
    if not config.patience or waited < config.patience:
        return ""
    gain = f" by more than {config.min_gain:g} dB" if config.min_gain else ""
    return f"{_validations(waited)} did not improve{gain} on step {at} ({best:.3f} dB)"


def _validations(number: int) -> str:
    return f"{number} validations in a row" if number > 1 else "1 validation"
