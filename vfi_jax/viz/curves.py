"""Learning curves of a run: loss, validation PSNR and learning rate over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from vfi_jax.system.files import AnyPath, written_whole


def save_curves(path: AnyPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Plots the loss and its terms, the validation PSNR and the learning rate over the steps, and writes a PNG.

    Args:
      path: the PNG file.
      rows: of a run's log; each has `step`, and any of `loss`, `loss/TERM`, `validation_psnr`, `rate`.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    names = sorted({name for row in rows for name in row if name == "loss" or name.startswith("loss/")})
    for name in names:
        _plot(loss, rows, name)
    _plot(score, rows, "validation_psnr", marker="o")
    _plot(rate, rows, "rate")
    loss.set(ylabel="loss", yscale="log")
    if names:
        loss.legend(fontsize="small")
    score.set_ylabel("validation PSNR, dB")
    rate.set(ylabel="learning rate", xlabel="step")
    with written_whole(path) as partial:
        figure.savefig(partial)


def _plot(axes: Any, rows: Sequence[Mapping[str, Any]], name: str, **style: Any) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1, **style)
        axes.grid(alpha=0.3)
