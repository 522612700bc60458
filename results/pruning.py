"""Time over keep rate of UGSP, skipping and masked: `python results/pruning.py WORK VIDEO... [--uncertainty RUN]`.

Writes `pruning.csv`; WORK keeps rows between calls. Of each video the first three frames, resized, give a pair and its
true middle. Masks meet a keep rate, level by level, by a threshold of one of `KINDS`: the network's own logits
("logits"), the uncertainty that a run of `ugsp_uncertainty` estimates ("uncertainty"), or DIS motion, dilated
("motion"); the fractions of the levels are those of `prepare.masks.fractions`. Both forms compute the same masks, round
by round in one process, after a first one that does not count; a row has medians. "share of pixels" and "share of
blocks" (of 2x2 pixels, computed whole) are means of the levels, weighted as the keep rate is. Seconds of the processor
hardly change with other work on the machine, as those of the clock do. Without --weights the weights are fresh: times
hold, PSNR means nothing.
"""

import argparse
import functools
import itertools
import statistics
import time
from pathlib import Path

import cv2
import experiment
import jax
import numpy as np

import vfi_jax
from vfi_jax.data.images import to_uint8
from vfi_jax.inference.flow import dis_flow
from vfi_jax.losses.pruning import keep_rate
from vfi_jax.metrics import psnr
from vfi_jax.models import registry, ugsp_network
from vfi_jax.nn.active import active_blocks
from vfi_jax.ops import pad
from vfi_jax.ops.channels import order_of
from vfi_jax.prepare.masks import SHARES, fractions, uncertainty
from vfi_jax.video.coding.decode import Reader

TABLE = Path(__file__).parent / "pruning.csv"
KINDS = ("logits", "uncertainty", "motion")
RATES, SIZES, ROUNDS = (0.2, 0.5, 1.0), ("1280x720", "1920x1080"), 1
LAYERS = {3: 6, 2: 6, 1: 5}  # 3x3 convolutions of a block


def frames_of(path, size):
    """Three RGB frames, uint8."""
    with Reader(path) as reader:
        images = [to_uint8(frame.image) for frame in itertools.islice(reader.frames(), 3)]
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])


def scores_of(kind, model, variables, frames, images, run):
    """A score per pixel of each level, where what is large is kept first."""
    if kind == "motion":
        motion = np.linalg.norm(dis_flow(images[0], images[2]), axis=-1)
        return _sampled(cv2.dilate(motion.astype(np.float32), np.ones((9, 9))), frames.shape[2:4])
    if kind == "uncertainty":
        estimator, trained = vfi_jax.load("ugsp_uncertainty", run)
        pair = frames[..., order_of(model)]  # RGB
        return _sampled(np.asarray(uncertainty(estimator, trained, pair))[0, ..., 0], frames.shape[2:4])

    @jax.jit
    def logits_of(variables, frames):
        seen = []

        def choose(number, logits):
            seen.append(logits[..., :1] - logits[..., 1:])
            return jax.numpy.ones_like(logits[..., :1])

        model.apply(variables, frames, choose, method="estimate")
        return seen

    return [np.asarray(score) for score in logits_of(variables, frames)]


def _sampled(score, size):
    """A score per pixel of the frame at each level; repeated at the edges to the padded size."""
    down, across = (whole - side for whole, side in zip(size, score.shape, strict=True))
    score = cv2.copyMakeBorder(score, 0, down, 0, across, cv2.BORDER_REPLICATE)
    return [score[::step, ::step][None, ..., None] for step in ugsp_network.MASK_STEPS]


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


def measured(path, size, kind, options):
    """The rows of a video at one size."""
    plain, variables = vfi_jax.load("ugsp", options.weights) if options.weights else vfi_jax.create("ugsp")
    images = frames_of(path, size)
    frames = pad(images[None, [0, 2]].astype(np.float32) / 255, registry.spec_of("ugsp").padding)
    frames = frames[..., order_of(plain)]
    scores = scores_of(kind, plain, variables, frames, images, options.uncertainty)
    programs = {name: program(model) for name, model in forms(plain).items()}
    return [
        {"video": path.name, "size": "x".join(map(str, size)), "masks": kind, "wanted": rate}
        | compared(plain, programs, (variables, frames, masks_of(scores, rate)), images[1], options.rounds)
        for rate in options.rates
    ]


def forms(model):
    """The network that computes all pixels, and the one that skips."""
    return {"masked": model, "skipping": model.clone(skips=True)}


def program(model):
    """The frame of a network, from its variables, frames and masks."""
    return jax.jit(lambda v, f, masks: model.apply(v, f, ugsp_network.given(masks), method="estimate").out.frame)


def compared(model, programs, inputs, truth, rounds):
    """Shares, multiply-adds, seconds and differences of both forms with the same masks."""
    _, frames, masks = inputs
    blocks = [float(active_blocks(mask).count) * 4 / mask.size for mask in masks]
    found = {name: np.asarray(program(*inputs)) for name, program in programs.items()}
    wall, busy = timed({name: functools.partial(program, *inputs) for name, program in programs.items()}, rounds)
    gmac = registry.spec_of("ugsp").gmac * frames[0, 0, ..., 0].size / (1280 * 720)
    height, width = truth.shape[:2]
    rounded = np.round(found["skipping"][:, :height, :width, order_of(model)] * 255)
    figures = {
        "keep rate": float(keep_rate([jax.numpy.asarray(mask) for mask in masks], model.block_widths)),
        "share of pixels": SHARES @ [mask.mean() for mask in masks] / SHARES.sum(),
        "share of blocks": SHARES @ blocks / SHARES.sum(),
        "GMAC masked": gmac,
        "GMAC skipping": gmac - gmac_of_blocks(model, masks, [1 - share for share in blocks]),
        **{f"s {name}": seconds for name, seconds in wall.items()},
        "ratio": wall["skipping"] / wall["masked"],
        **{f"processor s {name}": seconds for name, seconds in busy.items()},
        "processor ratio": busy["skipping"] / busy["masked"],
        "PSNR": float(np.squeeze(psnr(rounded, truth[None].astype(np.float64)))),
    }
    largest = np.abs(found["skipping"] - found["masked"]).max()
    return {name: f"{value:.4f}" for name, value in figures.items()} | {"largest difference": f"{largest:.1e}"}


def timed(calls, rounds):
    """Medians of the seconds on the clock and of the processor, of calls in turn."""
    wall, busy = ({name: [] for name in calls} for _ in range(2))
    for _ in range(rounds):
        for name, call in calls.items():
            start, before = time.perf_counter(), time.process_time()
            call().block_until_ready()
            wall[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - before)
    return [{name: statistics.median(each) for name, each in seconds.items()} for seconds in (wall, busy)]


def main() -> None:
    """A row for each video, size, kind of masks and keep rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, help="of ugsp")
    parser.add_argument("--uncertainty", type=Path, help="a run of ugsp_uncertainty")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    options = parser.parse_args()
    command = "results/pruning.py WORK VIDEO"
    command += " --weights FILE" * bool(options.weights) + " --uncertainty RUN" * bool(options.uncertainty)
    rows = []
    for path, size, kind in itertools.product(options.videos, options.sizes, KINDS):
        if kind == "uncertainty" and not options.uncertainty:
            continue
        pixels = tuple(map(int, size.split("x")))
        rows += experiment.kept(
            options.work / f"{path.stem}-{size}-{kind}.json",
            lambda path=path, pixels=pixels, kind=kind: [
                row | experiment.about(command) for row in measured(path, pixels, kind, options)
            ],
        )
    experiment.write_rows(TABLE, rows)


if __name__ == "__main__":
    main()
