"""Writing label masks: runs an uncertainty network over a set and compares with thresholds; `data.masks` reads them.

Where the network is more uncertain than a threshold, or a neighbor of such a pixel is, a pruned model is to compute.
One threshold per level holds for the whole set: it is the quantile of the uncertainty, over windows spread over the
set, at which the level keeps the fraction that the wanted keep rate leaves to it. Nothing of this is published. Chosen
here: thresholds of the set instead of each image's, since published savings differ from set to set; quantiles after
neighbors are counted in, so that the keep rate is met; the mean of both orders of the frames, as the middle frame has
no direction; a bit per pixel and level. If JAX runs in several processes, each of them writes its share of the files.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, UInt8

from vfi_jax.config import Window
from vfi_jax.data.labels import folder_of, read_about
from vfi_jax.data.masks import ABOUT_KEYS, KIND, METADATA_KEY, PER_FILE, packed
from vfi_jax.data.sources import Source, open_source
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError
from vfi_jax.ops.channels import order_of
from vfi_jax.prepare import label_files
from vfi_jax.prepare.flow_labels import BATCH, PreparingNetwork, open_network
from vfi_jax.system import strict_json
from vfi_jax.types import Array

UNCERTAINTY = "ugsp_uncertainty"
SAMPLES = 2000  # windows from which thresholds are taken
STEP = 4  # of the pixels of those windows, in both axes
# Fractions of the frame that levels 3, 2, 1 keep at a keep rate of 0.35; scaled for others. A nested choice of ours.
FRACTIONS = np.array([0.60, 0.45, 0.26])
# Share of each level in the keep rate: channels times area; level 4, before them, is kept whole.
FIRST, SHARES = 0.75, np.array([3.4375, 9.25, 25.0])


def write_masks(
    path: str,
    *,
    weights: Path | None,
    keep_rate: float = 0.35,
    frames: int = 0,
    step: int = 1,
    listed: str = "train",
) -> dict[str, Any]:
    """Writes the label masks of a set beside it; after an interruption the same call continues.

    Args:
      path: folder of the set, as `data.sources.open_source` takes it.
      weights: of the uncertainty network; None: those installed.
      keep_rate: wanted, see `losses.pruning.keep_rate`.
      frames: length of the windows that are cut out of folders with more images; 0: a folder is a window.
      step: images from the start of such a window to that of the next.
      listed: which of Vimeo90K's lists: "train" or "test".

    Returns:
      The content of `labels.json`.

    Raises:
      UsageError: a keep rate that masks cannot give, windows without a middle frame, or a folder that holds masks with
        other settings.
      UserError: the weights are missing, the set is damaged, or the folder cannot be written.
    """
    fractions(keep_rate)
    label_files.check_set(path, frames, step)
    source = open_source(path, frames, step=step, listed=listed)
    length = len(source[0]["frames"])
    window = Window(length, (0, length - 1), length // 2)
    frame_selections(window)
    if 2 * window.target != length - 1:
        raise UsageError(f"{path} has windows of {length} frames: masks are for the middle of an odd number")
    network = open_network(UNCERTAINTY, weights)
    about = {
        "model": UNCERTAINTY,
        "weights": network.sha256,
        "keep_rate": keep_rate,
        "inputs": list(window.inputs),
        "target": window.target,
        "windows": len(source),
    }
    folder = folder_of(path, UNCERTAINTY, listed, KIND)
    about["thresholds"] = _known_thresholds(folder, about) or _thresholds(source, network, window, keep_rate)
    with label_files.opened(folder, about):
        label_files.write_files(
            source,
            folder,
            functools.partial(_masks, network=network, window=window, thresholds=about["thresholds"]),
            metadata={METADATA_KEY: strict_json.dumps(about)},
            length=length,
            per_file=PER_FILE,
            unit="masks",
        )
    return about


def fractions(keep_rate: float) -> Float[np.ndarray, "3"]:
    """Returns the fractions that levels 3, 2, 1 keep at a keep rate: `FRACTIONS` times one factor, up to 1.

    Raises:
      UsageError: the keep rate is not above what level 4 alone gives, or above 1.
    """
    total = FIRST + SHARES.sum()
    if not FIRST / total < keep_rate <= 1:
        raise UsageError(f"a keep rate of {keep_rate:g}: above {FIRST / total:.3f} and up to 1 is needed")
    low, high = 0.0, 1 / FRACTIONS.min()
    for _ in range(60):  # bisection
        factor = (low + high) / 2
        enough = (FIRST + SHARES @ np.minimum(factor * FRACTIONS, 1)) / total >= keep_rate
        low, high = (low, factor) if enough else (factor, high)
    return np.minimum(high * FRACTIONS, 1)


def _known_thresholds(folder: Path, about: dict[str, Any]) -> list[float] | None:
    """The thresholds of masks that were begun with the same settings."""
    begun = read_about(folder, ABOUT_KEYS)
    return begun["thresholds"] if begun and about.items() <= begun.items() else None


def _thresholds(source: Source, network: PreparingNetwork, window: Window, keep_rate: float) -> list[float]:
    """Quantiles of the uncertainty, its maximum in 3x3 pixels taken before: as if masks were dilated."""
    indices = np.unique(np.linspace(0, len(source) - 1, SAMPLES).round().astype(int))
    windows = (source[int(index)] for index in indices)
    sample = np.concatenate([each[::STEP, ::STEP].ravel() for _, each in _uncertainties(windows, network, window)])
    return [round(float(np.quantile(sample, 1 - fraction)), 6) for fraction in fractions(keep_rate)]


def _masks(
    windows: Iterable[dict[str, Any]], network: PreparingNetwork, window: Window, thresholds: Sequence[float]
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w8 3"]]]:
    for name, uncertainty in _uncertainties(windows, network, window):
        yield name, packed(uncertainty[..., None] > np.float32(thresholds))


def _uncertainties(
    windows: Iterable[dict[str, Any]], network: PreparingNetwork, window: Window
) -> Iterator[tuple[str, Float[np.ndarray, "h w"]]]:
    """Yields name and uncertainty of each window, computed in batches of equal size."""
    full = BATCH * jax.local_device_count()
    for _, alike in itertools.groupby(windows, key=lambda each: each["frames"].shape):
        while group := list(itertools.islice(alike, full)):
            filled = [*group, *[group[-1]] * (full - len(group))]
            frames = np.stack([each["frames"][list(window.inputs)] for each in filled])
            found = network.run(uncertainty, frames)[: len(group), ..., 0]
            yield from zip([each["name"] for each in group], found, strict=True)


@functools.partial(jax.jit, static_argnums=0)
def uncertainty(model: Any, variables: Any, frames: Float[Array, "b 2 h w 3"]) -> Float[Array, "b h w 1"]:
    """Returns the mean uncertainty of the channels and of both orders of the frames, its maximum in 3x3 pixels."""
    frames = frames[..., order_of(model)]
    both = [model.apply(variables, each, method="estimate_uncertainty")[1] for each in (frames, frames[:, ::-1])]
    mean = (jnp.stack(both).mean(-1, keepdims=True)).mean(0)
    return lax.reduce_window(mean, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
