"""Attention in windows on TPUs by the compiler's cost model: `python results/window_tpu.py` (needs `vfi_jax[tpu]`).

Writes `window_tpu.csv`: bytes accessed and temporary memory of the attention of one shifted block of `ema_vfi` at 1/8
of the frame (256 channels, 8 heads, both frames) on one v5e chip; estimates, not measurements. "plain" attends to all
windows at once, with their masks as an array and coordinates embedded before the product, as the published code does;
"whole" and "rows" are the two forms of `nn.window_attention`, all windows at once and a row of them at a time. The
model counts the body of a loop once: to "rows" is added, for each further row, what attention to one row accesses.
"""

import csv
import os
import sys
from pathlib import Path

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vfi_jax.models import ema_vfi
from vfi_jax.nn import window

SIZES = ("1920x1080", "3840x2160")
CHANNELS, HEADS, MOTION = 256, 8, 64
SIDES = (ema_vfi.WINDOW, ema_vfi.WINDOW)


def plain(q, k, v, weight, mask, positions):
    """All windows at once; `mask` `[n, 49, 49]`, `positions` `[h, w, 2]`."""
    parts = [window.to_windows(x, SIDES) for x in (q, k, v, (positions @ weight)[None].repeat(len(q), 0))]
    q, k, v, embedded = (x.reshape(*x.shape[:-1], HEADS, -1) for x in parts)
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k) / (CHANNELS / HEADS) ** 0.5
    weights = jax.nn.softmax(scores + mask.reshape(*scores.shape[1:3], 1, *mask.shape[1:]))
    out, seen = (jnp.einsum("...hqk,...khd->...qhd", weights, x) for x in (v, embedded))
    return tuple(window.from_windows(x.reshape(*x.shape[:-2], -1), SIDES) for x in (out, seen - embedded))


def forms(size):
    """Functions of q, k, v and the embedding's weights, for a map of that size."""
    labels = ema_vfi.block_zones(size, shifted=True)
    positions = np.pad(ema_vfi.grid(size), (*ema_vfi.padding_of(size), (0, 0)))
    cut = window.to_windows(labels[None, ..., None], SIDES).reshape(-1, 49)
    mask = np.where(cut[:, :, None] == cut[:, None, :], 0, window.FORBIDDEN).astype(np.float32)

    def ours(at_once):
        def function(q, k, v, weight, *_):
            height = q.shape[1]
            fixed = labels[:height], None, positions[:height]
            out, way = window.window_attention(q, k, v, HEADS, SIDES, *fixed, at_once=at_once)
            x, y = (jnp.repeat(way[..., axis::2], MOTION // HEADS, -1) for axis in (0, 1))
            return out, x * weight[0] + y * weight[1]

        return function

    return {"plain": plain, "whole": ours(2**40), "rows": ours(0)}, mask.shape, positions.shape


def main() -> None:
    """A row for each size and form."""
    chip = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices[:1]
    where = NamedSharding(Mesh(np.array(chip), ("data",)), PartitionSpec())
    with (Path(__file__).parent / "window_tpu.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("frame", "form", "gb_accessed", "gb_temporary", "jax"))
        for width, height in (tuple(map(int, size.split("x"))) for size in sys.argv[1:] or SIZES):
            functions, mask, positions = forms((-(-height // 32) * 4, width // 8))
            maps = [(2, *positions[:2], CHANNELS)] * 3
            arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (*maps, (2, MOTION), mask, positions)]
            for form, function in functions.items():
                compiled = jax.jit(function, in_shardings=where).lower(*arguments).compile()
                accessed = compiled.cost_analysis()["bytes accessed"] / 1e9
                if form == "rows":
                    row = [jax.ShapeDtypeStruct((2, 7, *maps[0][2:]), jnp.float32)] * 3
                    alone = jax.jit(function, in_shardings=where).lower(*row, *arguments[3:]).compile()
                    accessed += (positions[0] // 7 - 1) * alone.cost_analysis()["bytes accessed"] / 1e9
                temporary = compiled.memory_analysis().temp_size_in_bytes / 1e9
                rows.writerow((f"{width}x{height}", form, f"{accessed:.2f}", f"{temporary:.3f}", jax.__version__))
                file.flush()


if __name__ == "__main__":
    main()
