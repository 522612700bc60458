"""Learning curves of one run or of several: loss, validation PSNR and learning rate over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vfi_jax.system.files import AnyPath, written_whole
from vfi_jax.viz.figures import Figure, FuncFormatter

Rows = Sequence[Mapping[str, Any]]

SMOOTHED_FROM = 20  # points of a curve
SPAN = 1 / 40  # of a curve's points, over which it is smoothed
FAINT = 0.25  # opacity of the curve that is smoothed


def save_curves(path: AnyPath, rows: Rows) -> None:
    """Plots the curves of a run and writes a PNG; see `draw_curves`."""
    _save(path, draw_curves(rows))


def save_comparison(path: AnyPath, runs: Mapping[str, Rows]) -> None:
    """Plots the curves of several runs and writes a PNG; see `draw_comparison`."""
    _save(path, draw_comparison(runs))


def draw_curves(rows: Rows) -> Figure:
    """Plots the loss and its terms, the validation PSNR and the learning rate over the steps.

    Losses of many rows are smoothed; the values themselves are drawn faintly behind.

    Args:
      rows: of a run's log; each has `step`, and any of `loss`, `loss/TERM`, `validation_psnr`, `rate`.
    """
    figure, loss, score, rate = _panels()
    names = sorted({name for row in rows for name in row if name == "loss" or name.startswith("loss/")})
    for number, name in enumerate(names):
        _plot_smoothed(loss, rows, name, label=name, color=f"C{number % 10}")
    _plot(score, rows, "validation_psnr", marker="o", markersize=3)
    _plot(rate, rows, "rate")
    if names:
        loss.legend(fontsize="small")
    return figure


def draw_comparison(runs: Mapping[str, Rows]) -> Figure:
    """Plots loss, validation PSNR and learning rate of several runs, each in a color of its own.

    Args:
      runs: rows of each run's log by the run's name.
    """
    figure, loss, score, rate = _panels()
    for number, (run, rows) in enumerate(runs.items()):
        color = f"C{number % 10}"
        _plot_smoothed(loss, rows, "loss", label=run, color=color)
        _plot(score, rows, "validation_psnr", marker="o", markersize=3, color=color)
        _plot(rate, rows, "rate", color=color)
    if runs:
        loss.legend(fontsize="small")
    return figure


def smooth(values: Sequence[float]) -> list[float]:
    """Returns the exponential moving average of a curve over `SPAN` of its points, corrected for its beginning."""
    decay = 1 - 1 / max(1.0, SPAN * len(values))
    smoothed, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        smoothed.append(total / weight)
    return smoothed


def _panels() -> tuple[Figure, Any, Any, Any]:
    figure = Figure(figsize=(10, 6), layout="constrained")
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    loss.set(ylabel="loss", yscale="log")
    score.set_ylabel("validation PSNR, dB")
    rate.set(ylabel="learning rate", xlabel="step")
    score.ticklabel_format(style="plain", useOffset=False)
    rate.ticklabel_format(axis="x", style="plain", useOffset=False)
    for axes in (loss, rate):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    for axes in (loss, score, rate):
        axes.grid(alpha=0.3)
    return figure, loss, score, rate


def _points(rows: Rows, name: str) -> tuple[list[int], list[float]]:
    points = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]


def _plot(axes: Any, rows: Rows, name: str, **style: Any) -> None:
    steps, values = _points(rows, name)
    if steps:
        axes.plot(steps, values, linewidth=1, **style)


def _plot_smoothed(axes: Any, rows: Rows, name: str, *, label: str, color: str) -> None:
    steps, values = _points(rows, name)
    if len(steps) >= SMOOTHED_FROM:
        axes.plot(steps, values, linewidth=1, color=color, alpha=FAINT)
        values = smooth(values)
    if steps:
        axes.plot(steps, values, linewidth=1.5, color=color, label=label)


def _save(path: AnyPath, figure: Figure) -> None:
    with written_whole(path) as partial:
        figure.savefig(partial)
