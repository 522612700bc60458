"""Paired comparison of two models: mean differences per image, with bootstrap intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from vfi_jax.evaluation.results import Result

COMPARED = (
    "psnr",
    "ssim_matlab",
    "ssim_gaussian",
    "ssim_gray",
    "sharpness",
    "ie",
    "lpips_alex",
    "lpips_vgg",
    "flolpips_raft",
)
RESAMPLES = 9999
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The second model minus the first, over the images that both have.

    Attributes:
      benchmark: name.
      figure: name.
      images: number of images.
      mean: mean difference.
      low: lower end of the 95 % interval of the mean (paired bootstrap over images).
      high: upper end.
    """

    benchmark: str
    figure: str
    images: int
    mean: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def interval(differences: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """The 95 % bootstrap interval (bias-corrected, accelerated) of a mean; (-inf, inf) for fewer than two values."""
    if len(differences) < 2:
        return -np.inf, np.inf
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy.stats import bootstrap  # slow to import

    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        batch=100,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def difference(first: Result, second: Result, figure: str) -> PairedDifference | None:
    """`second` minus `first` in one figure; None where they share no image that has it."""
    values = [{row.name: row.figures().get(figure, np.nan) for row in result.rows} for result in (first, second)]
    shared = [name for name in values[0] if name in values[1]]
    steps = np.array([values[1][name] - values[0][name] for name in shared])
    steps = steps[np.isfinite(steps)]
    if not len(steps):
        return None
    return PairedDifference(first.benchmark, figure, len(steps), float(steps.mean()), *interval(steps))


def differences(first: Iterable[Result], second: Iterable[Result]) -> list[PairedDifference]:
    """Differences on all benchmarks that both have under one protocol, all its settings included."""
    others = {result.benchmark: result for result in second}
    pairs = [(one, others[one.benchmark]) for one in first if one.benchmark in others]
    comparable = [(one, other) for one, other in pairs if one.entry.get("settings") == other.entry.get("settings")]
    each = (difference(one, other, figure) for one, other in comparable for figure in _figures(one))
    return [one for one in each if one is not None]


def _figures(result: Result) -> Sequence[str]:
    """The figures of `COMPARED`, and the additional metrics that the first result has."""
    return tuple(dict.fromkeys((*COMPARED, *result.metrics)))


def difference_table(differences: Sequence[PairedDifference]) -> list[list[str]]:
    """Heading and rows."""
    rows = [["benchmark", "figure", "images", "difference", "95 % interval", "significant"]]
    for one in differences:
        bounds = f"{one.low:+.4f} to {one.high:+.4f}"
        verdict = "yes" if one.is_significant else "no"
        rows.append([one.benchmark, one.figure, str(one.images), f"{one.mean:+.4f}", bounds, verdict])
    return rows
