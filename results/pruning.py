"""Time over keep rate of UGSP, skipping and masked: `python results/pruning.py VIDEO... [--weights FILE]`.

Writes `pruning.csv`. Of each video the first three frames, resized, give a pair and its true middle. Masks meet a keep
rate either by the weights' own logits ("logits") or by DIS motion, dilated ("motion"); the fractions of the levels are
those of `prepare.masks.fractions`. Both forms compute the same masks, round by round in one process; a row has medians.
"share of pixels" and "share of blocks" (of 2x2 pixels, computed whole) are means of the levels, weighted as the keep
rate is. Seconds of the processor hardly change with other work on the machine, as those of the clock do. Without
--weights the weights are fresh: times hold, PSNR means nothing.
"""

import argparse
import csv
import itertools
import os
import platform
import statistics
import time
from pathlib import Path

import cv2
import jax
import numpy as np

import vfi_jax
from vfi_jax.data.images import to_uint8
from vfi_jax.inference.flow import dis_flow
from vfi_jax.losses.pruning import keep_rate
from vfi_jax.metrics import psnr
from vfi_jax.models import registry, ugsp
from vfi_jax.nn.active import active_blocks
from vfi_jax.ops import pad
from vfi_jax.ops.channels import order_of
from vfi_jax.prepare.masks import SHARES, fractions
from vfi_jax.system.machine import processor
from vfi_jax.video.coding.decode import Reader

RATES, SIZES, ROUNDS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0), "1280x720,1920x1080", 5
LAYERS = {3: 6, 2: 6, 1: 5}  # 3x3 convolutions of a block
TITLES = (
    *("video", "size", "masks", "wanted", "keep rate", "share of pixels", "share of blocks"),
    *("GMAC masked", "GMAC skipping", "s masked", "s skipping", "ratio", "processor s masked", "processor s skipping"),
    *("processor ratio", "PSNR", "largest difference", "date", "versions", "machine", "command"),
)


def frames_of(path, size):
    """Three RGB frames, uint8."""
    with Reader(path) as reader:
        images = [to_uint8(frame.image) for frame in itertools.islice(reader.frames(), 3)]
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])


def scores_of(kind, model, variables, frames, images):
    """A score per pixel of each level, where what is large is kept first."""
    if kind == "motion":
        height, width = frames.shape[2:4]
        motion = np.linalg.norm(dis_flow(images[0], images[2]), axis=-1)
        motion = cv2.dilate(motion.astype(np.float32), np.ones((9, 9)))
        motion = cv2.copyMakeBorder(
            motion, 0, height - motion.shape[0], 0, width - motion.shape[1], cv2.BORDER_REPLICATE
        )
        return [motion[::step, ::step][None, ..., None] for step in ugsp.MASK_STEPS]

    @jax.jit
    def logits_of(variables, frames):
        seen = []

        def choose(number, logits):
            seen.append(logits[..., :1] - logits[..., 1:])
            return jax.numpy.ones_like(logits[..., :1])

        model.apply(variables, frames, choose, method="estimate")
        return seen

    return [np.asarray(score) for score in logits_of(variables, frames)]


def masks_of(scores, rate):
    """Nested masks of levels 3, 2, 1."""
    masks = []
    for score, fraction in zip(scores, fractions(rate), strict=True):
        score = np.where(masks[-1].repeat(2, 1).repeat(2, 2), score, -np.inf) if masks else score
        # By rank: many pixels may have one score, such as no motion.
        order = np.argsort(np.argsort(-score.ravel(), kind="stable"), kind="stable").reshape(score.shape)
        masks.append((order < round(fraction * score.size)).astype(np.float32))
    return masks


def gmac_of_blocks(model, masks, shares):
    """1e9 multiply-adds of the pruned blocks at shares of their pixels; 1x1 convolutions included."""
    features = (model.widths[1] + 4, model.widths[0] + 4, model.block_widths[-1])
    total = 0.0
    for level, width, out, mask, share in zip((3, 2, 1), model.block_widths[1:], features, masks, shares, strict=True):
        total += share * mask.size * LAYERS[level] * (9 * width**2 + width * out)
    return total / 1e9


def measured(path, size, kind, weights, rates, rounds):
    """The rows of a video at one size."""
    spec = registry.spec_of("ugsp")
    plain, variables = vfi_jax.load("ugsp", weights) if weights else vfi_jax.create("ugsp")
    images = frames_of(path, size)
    order = order_of(plain)
    frames = pad(images[None, [0, 2]][..., order].astype(np.float32) / 255, spec.padding)
    scores = scores_of(kind, plain, variables, frames, images)
    forms = {"masked": plain, "skipping": plain.clone(skips=True)}
    programs = {
        name: jax.jit(lambda v, f, m, model=model: model.apply(v, f, ugsp.given(m), method="estimate").out.frame)
        for name, model in forms.items()
    }
    rest = spec.gmac * frames[0, 0, ..., 0].size / (1280 * 720)
    for rate in rates:
        masks = masks_of(scores, rate)
        blocks = [float(active_blocks(mask).count) * 4 / mask.size for mask in masks]
        found = {name: np.asarray(program(variables, frames, masks)) for name, program in programs.items()}
        wall, busy = timed({name: (program, variables, frames, masks) for name, program in programs.items()}, rounds)
        height, width = images.shape[1:3]
        rounded = np.round(found["skipping"][:, :height, :width, order] * 255)
        yield (
            path.name, f"{width}x{height}", kind, rate, *(f"{value:.4f}" for value in (
                float(keep_rate([jax.numpy.asarray(mask) for mask in masks], plain.block_widths)),
                SHARES @ [mask.mean() for mask in masks] / SHARES.sum(), SHARES @ blocks / SHARES.sum(),
                rest, rest - gmac_of_blocks(plain, masks, [1 - share for share in blocks]),
                wall["masked"], wall["skipping"], wall["skipping"] / wall["masked"],
                busy["masked"], busy["skipping"], busy["skipping"] / busy["masked"],
                float(np.squeeze(psnr(rounded, images[None, 1].astype(np.float64)))),
            )), f"{np.abs(found['skipping'] - found['masked']).max():.1e}",
            time.strftime("%Y-%m-%d"), f"jax {jax.__version__}",
            f"{processor()} ({os.cpu_count()} cores), Python {platform.python_version()}",
            f"python results/pruning.py VIDEO{' --weights FILE' * bool(weights)}",
        )  # fmt: skip


def timed(calls, rounds):
    """Medians of the seconds on the clock and of the processor, of calls in turn."""
    wall, busy = ({name: [] for name in calls} for _ in range(2))
    for _ in range(rounds):
        for name, (program, *arguments) in calls.items():
            start, before = time.perf_counter(), time.process_time()
            program(*arguments).block_until_ready()
            wall[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - before)
    return [{name: statistics.median(each) for name, each in seconds.items()} for seconds in (wall, busy)]


def main() -> None:
    """A row for each video, size, kind of masks and keep rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    with (options.output / "pruning.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(TITLES)
        for path, size, kind in itertools.product(options.videos, options.sizes.split(","), ("logits", "motion")):
            pixels = tuple(map(int, size.split("x")))
            for row in measured(path, pixels, kind, options.weights, options.rates, options.rounds):
                rows.writerow(row)
                file.flush()


if __name__ == "__main__":
    main()
