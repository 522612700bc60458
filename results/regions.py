"""Do region maps help where two objects look alike? `python results/regions.py WORK`.

WORK keeps everything between calls: a call that was killed is continued by the same command. `--run D-0` does one run
alone; without it the missing ones are done in turn, then all are scored and drawn. `--finished` trains nothing, and
scores the runs that are finished.

A narrow IFRNet-S is trained from fresh weights on synthetic scenes of four layers. Two of them have one texture and one
outline, and cross each other's ways. Rows differ in the maps that training and test see (`ROWS`); row A is the same
network without maps, and sees the same crops in the same order. Writes `regions.csv` and docs/images/regions.png;
`python results/tables.py` then writes the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import cv2
import experiment
import jax
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from vfi_jax import MODELS, config
from vfi_jax.config import Regions
from vfi_jax.data.region_maps import Map
from vfi_jax.data.regions import disturbed
from vfi_jax.data.synthetic.scenes import Motion, Scene, random_scene
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics.image import capped_psnr, ssim
from vfi_jax.models.guided import FIELD
from vfi_jax.models.spec import ModelSpec
from vfi_jax.prepare.region_matching import Numbering, compacted
from vfi_jax.prepare.regions import superpixels
from vfi_jax.runs.log import read_log
from vfi_jax.types import Array, Batch, Output, Variables
from vfi_jax.viz.sheets import save_png, sheet
from vfi_jax.weights.load import load

ROOT = Path(__file__).parent.parent
TABLE, PICTURE = ROOT / "results/regions.csv", ROOT / "docs/images/regions.png"
SCENES, SIDE, SPEEDS = 400, 112, (5.0, 40.0)  # of training; speeds in pixels from the first frame to the last
HELD_OUT, FIRST_HELD_OUT = 80, 100_000  # scenes that are scored: their number, seed of the first
TIMES = (0.0, 0.5, 1.0)
CROP, STEPS, RATE, WIDTHS = 64, 500, 1e-3, (12, 16, 20, 24)
SEEDS, CODE_SEEDS = (0, 1), range(5)
BAND = 4  # pixels around the edge of a region
DRAWN = (3, 17, 42)  # scenes in the picture
NONE = "none"
ROWS = {"A": NONE, "B": "ones", "C": "shuffled", "D": "exact", "F": "superpixels"}  # trained and tested with these maps
# Row of a test to the row that was trained, and its maps.
TESTS = {**{row: (row, maps) for row, maps in ROWS.items()}, "D-": ("D", NONE), "D~": ("D", "disturbed")}


# Scenes


def alike(seed: int) -> Scene:
    """Four layers; the second is the first once more, on a way of its own that crosses the first's."""
    rng = np.random.default_rng(seed)
    speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
    scene = random_scene(seed, SIDE, SIDE, layers=4, speed=speed)
    first, _, *others = scene.layers
    first = dataclasses.replace(first, motion=_motion(rng, speed, rng.uniform(0.35, 0.65, 2) * SIDE))
    middle = np.add(first.motion.matrix(0.5)[:2, 2], rng.uniform(-0.3, 0.3, 2) * SIDE)
    twin = dataclasses.replace(first, motion=_motion(rng, speed, middle))
    return dataclasses.replace(scene, layers=(*others, first, twin))


def _motion(rng: np.random.Generator, speed: float, middle: np.ndarray) -> Motion:
    """A straight way through `middle` at time 0.5."""
    angle, pace = rng.uniform(0, 2 * np.pi), speed * rng.uniform(0.5, 1)
    velocity = pace * np.array([np.cos(angle), np.sin(angle)])
    start = middle - velocity / 2
    return Motion((float(start[0]), float(start[1])), (float(velocity[0]), float(velocity[1])))


class Clip(NamedTuple):
    """Three frames of a scene, and what is known of the middle one.

    Attributes:
      frames: at `TIMES`.
      maps: exact ones.
      superpixels: those of the first and last frame, matched; the middle one's are zeros.
      flow: exact, from the middle to the first frame.
      edges: pixels of the middle frame at most `BAND` from an edge between regions.
      both: pixels of the middle frame that both others show.
    """

    frames: UInt8[np.ndarray, "3 h w 3"]
    maps: UInt8[np.ndarray, "3 h2 w2"]
    superpixels: UInt8[np.ndarray, "3 h2 w2"]
    flow: Float32[np.ndarray, "h w 2"]
    edges: Bool[np.ndarray, "h w"]
    both: Bool[np.ndarray, "h w"]


def clip(seed: int) -> Clip:
    """Renders a scene."""
    scene = alike(seed)
    frames = np.rint(255 * np.stack([scene.frame(at) for at in TIMES])).astype(np.uint8)
    surfaces = scene.surfaces(0.5).astype(np.float32)
    size = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    edges = cv2.dilate(surfaces, size) > cv2.erode(surfaces, size)
    both = scene.visible(0.5, 0.0) & scene.visible(0.5, 1.0)
    maps = np.stack([scene.regions(at) for at in TIMES])
    return Clip(frames, maps, _superpixels(frames), scene.flow(0.5, 0.0), edges, both)


def _superpixels(frames: UInt8[np.ndarray, "3 h w 3"]) -> UInt8[np.ndarray, "3 h2 w2"]:
    """Felzenszwalb's regions of the outer frames, matched over both."""
    numbering, segment = Numbering(), superpixels("felzenszwalb")
    small = [cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in frames[::2]]
    first, last = (compacted(segment(frame)) for frame in small)
    maps = numbering.number(first, None), numbering.number(last, dis_flow(*small))
    return np.stack([maps[0], np.zeros_like(maps[0]), maps[1]])


def clips(work: Path, seeds: range) -> list[Clip]:
    """The clips of scenes, rendered once."""
    file = work / f"clips-{seeds.start}-{len(seeds)}.npz"
    if not file.exists():
        rendered = [clip(seed) for seed in seeds]
        partial = file.with_suffix(".part.npz")
        np.savez_compressed(partial, *(np.stack(part) for part in zip(*rendered, strict=True)))
        partial.rename(file)
    with np.load(file) as stored:
        return [Clip(*parts) for parts in zip(*(stored[name] for name in stored.files), strict=True)]


def maps_of(each: Clip, kind: str, seed: int) -> UInt8[np.ndarray, "3 h2 w2"]:
    """The maps of a kind; what is random in them follows the seed."""
    rng = np.random.default_rng([seed, 1])
    if kind == "ones":
        return np.ones_like(each.maps)
    if kind == "shuffled":
        tables = [np.concatenate([[0], 1 + rng.permutation(255)]).astype(np.uint8) for _ in each.maps]
        return np.stack([table[labels] for table, labels in zip(tables, each.maps, strict=True)])
    if kind == "disturbed":
        outer = disturbed(each.maps[::2], Regions(drop=0, drop_one=0, noise=1), rng)
        return np.stack([outer[0], each.maps[1], outer[1]])
    return each.superpixels if kind == "superpixels" else each.maps


# Training


@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips as a source of windows with maps; `regions:source?WORK,KIND`."""

    work: Path
    kind: str
    by_clip: bool = False
    has_own_split: bool = False

    @functools.cached_property
    def names(self) -> Sequence[str]:
        """Names of the windows."""
        return [f"scene{seed:06d}/0" for seed in range(SCENES)]

    @functools.cached_property
    def _clips(self) -> list[Clip]:
        return clips(self.work, range(SCENES))

    def __len__(self) -> int:
        """Number of windows."""
        return SCENES

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """A window."""
        number = int(index)
        each = self._clips[number]
        return {"frames": each.frames, "regions": maps_of(each, self.kind, number), "name": self.names[number]}


def source(argument: str, *, length: int, step: int, listed: str) -> Clips:
    """Opens the clips of `WORK,KIND`."""
    work, _, kind = argument.rpartition(",")
    return Clips(Path(work), kind)


def _without_maps(
    model: Any, variables: Variables, batch: Batch, config: Any, *, step: Any, rng: Array | None
) -> tuple[Array, Any]:
    """The objective of row A: the maps, which the crops follow, are left aside."""
    seen = {name: value for name, value in batch.items() if name != FIELD}
    return MODELS["ifrnet_s"].loss(model, variables, seen, config, step=step, rng=rng)


CONTROL: ModelSpec = MODELS["ifrnet_s"].replace(loss=_without_maps)


def recipe(work: Path, row: str, seed: int) -> config.Train:
    """The recipe of a run; rows differ in the maps alone."""
    kind = "exact" if ROWS[row] == NONE else ROWS[row]
    return experiment.recipe(
        steps=STEPS, rate=RATE, crop=CROP, seed=seed, validation_samples=8, checkpoint_every=250,
        model="regions:CONTROL" if ROWS[row] == NONE else "ifrnet_s",
        fields={"widths": WIDTHS, "region_channels": 8},
        data={
            "path": f"regions:source?{work.resolve()},{kind}", "regions": {"maps": True},
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
        },
    )  # fmt: skip


def finished(work: Path, run: str) -> bool:
    """Whether a run has done its last step."""
    return (work / run).is_dir() and any(row.get("step") == STEPS for row in read_log(work / run))


# Scoring


Predict = Callable[[Clip, UInt8[np.ndarray, "3 h2 w2"] | None, int], tuple[np.ndarray, np.ndarray]]


def predictor(work: Path, row: str, seed: int) -> Predict:
    """Loads a run; the function gives the middle frame and the flow to the first, with codes of a seed."""
    name = "regions:CONTROL" if ROWS[row] == NONE else "ifrnet_s"
    model, variables = load(name, work / f"{row}-{seed}", step="newest")

    def predict(each: Clip, maps: UInt8[np.ndarray, "3 h2 w2"] | None, code: int) -> tuple[np.ndarray, np.ndarray]:
        frames = each.frames[None, ::2].astype(np.float32) / 255
        out = _predicted(model, variables, frames, None if maps is None else maps[None, ::2], code)
        return np.rint(255 * np.asarray(out.frame[0])).astype(np.uint8), np.asarray(out.flows[-1][0, ..., :2])

    return predict


@functools.partial(jax.jit, static_argnums=0)
def _predicted(model: Any, variables: Variables, frames: Array, maps: Array | None, code: int) -> Output:
    return model.apply(variables, frames, 0.5, regions=maps, region_seed=code)


def scores(scenes: Sequence[Clip], predict: Predict, kind: str, code: int) -> dict[str, float]:
    """Means over scenes: of all pixels, of those near edges, of those that one frame alone shows, and of flow."""
    figures: dict[str, list[float]] = {"psnr": [], "ssim": [], "psnr_edges": [], "psnr_one_frame": [], "epe": []}
    for number, each in enumerate(scenes):
        maps = None if kind == NONE else maps_of(each, kind, FIRST_HELD_OUT + number)
        frame, flow = predict(each, maps, code)
        truth = each.frames[1]
        squared = (frame.astype(np.float64) - truth) ** 2
        figures["psnr"].append(float(capped_psnr(squared.mean())))
        figures["ssim"].append(float(ssim(frame[None], truth[None])[0]))
        figures["psnr_edges"].append(float(capped_psnr(squared[each.edges].mean())))
        figures["epe"].append(float(np.hypot(*np.moveaxis(flow - each.flow, -1, 0))[each.both].mean()))
        if (~each.both).any():
            figures["psnr_one_frame"].append(float(capped_psnr(squared[~each.both].mean())))
    return {name: float(np.mean(values)) for name, values in figures.items()}


def measured(work: Path, scenes: Sequence[Clip]) -> Iterator[dict[str, Any]]:
    """The rows of the table: each test and seed, and the spread of row D over codes."""
    tests = [(row, seed, 0) for row, seed in itertools.product(TESTS, SEEDS)]
    for row, seed, code in [*tests, *(("D", 0, code) for code in CODE_SEEDS if code)]:
        trained, kind = TESTS[row]
        if not finished(work, f"{trained}-{seed}"):
            continue

        def measure(trained: str = trained, kind: str = kind, seed: int = seed, code: int = code) -> experiment.Rows:
            return [scores(scenes, predictor(work, trained, seed), kind, code)]

        (figures,) = experiment.kept(work / f"scores/{row}-{seed}-{code}.json", measure)
        yield {"row": row, "trained": ROWS[trained], "tested": kind, "seed": seed, "codes": code, "scenes": len(scenes),
               "steps": STEPS, **{name: f"{value:.4f}" for name, value in figures.items()},
               **experiment.about("results/regions.py WORK")}  # fmt: skip


def drawn(work: Path, scenes: Sequence[Clip]) -> np.ndarray:
    """Both inputs, their exact maps, the truth and the predictions of some scenes."""
    shown = {row: test for row, test in TESTS.items() if finished(work, f"{test[0]}-0")}
    predictors = {row: predictor(work, trained, 0) for row, (trained, _) in shown.items()}
    rows = []
    for number in DRAWN:
        each = scenes[number]
        row = [(each.frames[0], "frame 0"), (each.frames[2], "frame 1"), (_colored(each.maps[0]), "exact map")]
        row += [(_colored(each.superpixels[0]), "superpixels"), (each.frames[1], "truth")]
        for name, (_, kind) in shown.items():
            maps = None if kind == NONE else maps_of(each, kind, FIRST_HELD_OUT + number)
            row.append((predictors[name](each, maps, 0)[0], name))
        rows.append(row)
    return sheet(rows)


def _colored(labels: Map) -> UInt8[np.ndarray, "h w 3"]:
    table = np.random.default_rng(0).integers(40, 256, (256, 3), np.uint8)
    table[0] = 0
    return table[labels].repeat(2, 0).repeat(2, 1)


def main() -> None:
    """Trains what is missing, or one run; then scores and draws."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--run", metavar="ROW-SEED", help="one run alone, such as D-0")
    parser.add_argument("--finished", action="store_true", help="score the runs that are finished, and train none")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    clips(options.work, range(SCENES))
    runs = [options.run] if options.run else [f"{row}-{seed}" for seed, row in itertools.product(SEEDS, ROWS)]
    for run in [] if options.finished else runs:
        row, _, seed = run.partition("-")
        experiment.train(recipe(options.work, row, int(seed)), options.work / run)
    if options.run:
        return
    scenes = clips(options.work, range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT))
    experiment.write_rows(TABLE, list(measured(options.work, scenes)))
    save_png(PICTURE, drawn(options.work, scenes))


if __name__ == "__main__":
    main()
