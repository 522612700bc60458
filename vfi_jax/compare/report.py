"""The outcome of a comparison as tables, JSON and a plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown
from vfi_jax.viz.figures import Figure

OURS, PUBLISHED, CHANNELS_LAST = "ours", "published", "channels_last"
FORWARD, BACKWARD = "forward", "forward + backward"
Spread = tuple[float, float, float]  # lower quartile, median, upper quartile


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """How far the two sides' outputs differ at one size.

    Attributes:
      size: WIDTHxHEIGHT.
      frame_max: greatest absolute difference of the frames, in 0..1; None for a flow network.
      frame_mean: mean absolute difference of the frames.
      flow_max: greatest absolute difference of the final flows, pixels; None where a model has none.
      flow_mean: mean absolute difference of the final flows.
      flow_longest: greatest component of the published flow, pixels.
      noise: greatest absolute difference between the published implementation's frames (a flow network's flows) in
        channels_last and as published; None where it did not run in channels_last.
      gradient: norm of the difference of the gradients over all parameters, divided by the norm of the published one.
      gradient_noise: likewise between the published implementation in channels_last and as published.
    """

    size: str
    frame_max: float | None
    frame_mean: float | None
    flow_max: float | None
    flow_mean: float | None
    flow_longest: float | None
    noise: float | None = None
    gradient: float | None = None
    gradient_noise: float | None = None


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of one side at one size.

    Attributes:
      size: WIDTHxHEIGHT.
      direction: `FORWARD` or `BACKWARD`.
      side: `OURS` or a form of the published implementation.
      first: seconds of the first run, compilation included.
      seconds: seconds per frame in each round; in a round every side runs once.
      memory: peak memory of the process so far, bytes.
      failed: why there are no figures, in one line.
    """

    size: str
    direction: str
    side: str
    first: float = 0.0
    seconds: tuple[float, ...] = ()
    memory: int = 0
    failed: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a comparison.

    Attributes:
      about: what ran, by name: model, implementation, weights, versions, device, precision.
      differences: one per size.
      timings: by size, direction and side.
      scores: mean PSNR of each side over a benchmark, dB; empty without one.
    """

    about: Mapping[str, Any]
    differences: Sequence[OutputDifference]
    timings: Sequence[Timing]
    scores: Mapping[str, float]


def spread(values: Sequence[float]) -> Spread:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.percentile(np.asarray(values, np.float64), (25, 50, 75))
    return float(low), float(middle), float(high)


def ratios(ours: Timing, theirs: Timing) -> Spread:
    """The spread of our time over theirs, round by round, since a disturbance slows both sides of a round."""
    return spread([a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)])


def best_form(timings: Sequence[Timing]) -> Timing:
    """The fastest form of the published implementation, by median, among timings of one size and direction."""
    return min((t for t in timings if t.side != OURS and not t.failed), key=lambda timing: spread(timing.seconds)[1])


def text(outcome: Outcome) -> str:
    """The outcome as Markdown."""
    about = "\n".join(f"- {name}: {value}" for name, value in outcome.about.items() if value not in ("", None))
    parts = [f"# {outcome.about['model']} beside {outcome.about['implementation']}", about, _differences(outcome)]
    if outcome.scores:
        shown = ", ".join(f"{side} {score:.3f} dB" for side, score in outcome.scores.items())
        parts.append(f"Mean PSNR over {outcome.about['benchmark']}: {shown}.")
    parts.append(_timings(outcome))
    parts.append(
        "PyTorch to itself: difference between its results in channels_last and as published, of frames or gradients. "
        "Seconds per frame: median (lower, upper quartile) over rounds, in which every side runs once. Ratio: our time "
        "over theirs in the same round. Memory: peak of the process, including inputs, weights and libraries. First: "
        "first run, including compilation."
    )
    return "\n\n".join(parts) + "\n"


def _differences(outcome: Outcome) -> str:
    flows = ("flow, max, px", "mean", "longest flow, px")
    rows = [("size", "frame, max", "mean", *flows, "PyTorch to itself", "gradient, relative", "PyTorch to itself")]
    for difference in outcome.differences:
        rows.append((difference.size, *(_figure(value) for value in dataclasses.astuple(difference)[1:])))
    return markdown(rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _timings(outcome: Outcome) -> str:
    rows = [("size", "run", "side", "seconds per frame", "ratio", "memory, MB", "first, s")]
    for group in _groups(outcome.timings):
        ours = next(timing for timing in group if timing.side == OURS)
        best = best_form(group)
        for timing in group:
            row = (timing.size, timing.direction, timing.side + (" (best)" if timing is best else ""))
            if timing.failed:
                rows.append((*row, f"failed: {timing.failed}", "", "", ""))
                continue
            ratio = "" if timing is ours else _spread(ratios(ours, timing), 2)
            figures = (_spread(spread(timing.seconds), 3), ratio, f"{timing.memory / 1e6:.0f}", f"{timing.first:.1f}")
            rows.append((*row, *figures))
    return markdown(rows)


def _groups(timings: Sequence[Timing]) -> list[list[Timing]]:
    """Timings by size and direction."""
    keys = dict.fromkeys((timing.size, timing.direction) for timing in timings)
    return [[timing for timing in timings if (timing.size, timing.direction) == key] for key in keys]


def _spread(values: Spread, digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low}, {high})"


def write(outcome: Outcome, folder: Path) -> None:
    """Writes `compare.md`, `compare.json` and `compare.png` into a folder.

    Raises:
      UserError: the folder cannot be written.
    """
    with written_whole(folder / "compare.md") as partial:
        partial.write_text(text(outcome))
    with written_whole(folder / "compare.json") as partial:
        partial.write_text(strict_json.dumps(dataclasses.asdict(outcome), indent=1) + "\n")
    with written_whole(folder / "compare.png") as partial:
        _plot(outcome).savefig(partial)


def _plot(outcome: Outcome) -> Figure:
    groups = _groups(outcome.timings)
    figure = Figure(figsize=(3 + 2.5 * len(groups), 4), layout="constrained")
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        timings = [timing for timing in group if not timing.failed]
        spreads = np.array([spread(timing.seconds) for timing in timings])
        below, above = spreads[:, 1] - spreads[:, 0], spreads[:, 2] - spreads[:, 1]
        colors = ["tab:blue" if timing.side == OURS else "tab:orange" for timing in timings]
        axes.bar([timing.side for timing in timings], spreads[:, 1], yerr=[below, above], capsize=4, color=colors)
        axes.set(title=f"{group[0].size}, {group[0].direction}", ylabel="seconds per frame")
        axes.tick_params(axis="x", rotation=30)
    figure.suptitle(f"{outcome.about['model']} beside {outcome.about['implementation']}", fontsize="medium")
    return figure
