"""The same network trained with times and with distance maps: `python results/distance.py WORK DATA`.

WORK keeps everything between calls: a call that was killed is continued by the same command. DATA holds `photos`, from
which the surfaces of scenes are cut, and `train` and `devset/clips`, videos that are only scored. Scenes are those of
`data.synthetic`, but each surface speeds up or slows down along its way: after the time t it has covered
t + k (t^2 - t) of it, k drawn from -1 to 1. Two frames do not show k.

Two networks (`NETWORKS`), each trained in three ways: `t` (times), `exact` (maps of the scene's own flow) and `dis`
(maps of OpenCV's DIS). They are scored at all eighths between two frames, with one distance for all pixels and with the
true map of every target (of clips: DIS's). Writes `distance.csv` and docs/images/distance.png; `python
results/tables.py` then writes the table. With --lpips FOLDER (weights as for eval.py) the rows have LPIPS, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import experiment
import numpy as np
from jaxtyping import Float, Float16, UInt8

from vfi_jax import Interpolator, config
from vfi_jax.config import Distance
from vfi_jax.data import images, sources
from vfi_jax.data.distance_maps import of_frame, projected, stored, triples
from vfi_jax.data.distances import KIND, METADATA_KEY, PER_FILE
from vfi_jax.data.labels import folder_of
from vfi_jax.data.synthetic.scenes import Layer, Motion, Scene, random_scene
from vfi_jax.evaluation import perceptual
from vfi_jax.metrics.image import psnr, sharpness
from vfi_jax.metrics.lpips import lpips
from vfi_jax.prepare import label_files
from vfi_jax.prepare.distances import write_distance_maps
from vfi_jax.prepare.flow_labels import DIS, pairwise_method
from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole
from vfi_jax.video.coding.decode import Reader
from vfi_jax.viz.sheets import save_png, sheet
from vfi_jax.weights.load import load

ROOT = Path(__file__).parent.parent
TABLE, PICTURE = ROOT / "results/distance.csv", ROOT / "docs/images/distance.png"
CROP = 64
EXACT = "exact"
MAPS, SHIPPED = ("uniform", "true"), "as shipped"
KINDS = {"t": "", EXACT: EXACT, "dis": DIS}
SCENES, FRAMES, SIDE, SPEEDS = 600, 7, 80, (6.0, 24.0)  # of training; speeds in pixels from the first frame to the last
HELD_OUT, FIRST_HELD_OUT, LARGE = 24, 100_000, 128  # scenes that are scored: number, seed of the first, side
CLIPS, MOVES, CUTS = 24, 6.0, 30.0  # real windows; mean change between inputs, and between neighbors
TIMES = tuple(i / 8 for i in range(1, 8))
SMOOTH = Distance(blur=9, blur_at="frame")  # as in `configs/d_ifrnet.py`
Window = UInt8[np.ndarray, "9 h w 3"]
Maps = Float[np.ndarray, "7 h w 1"]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and its training.

    Attributes:
      model: name in MODELS.
      steps: of each run.
      rate: learning rate.
      start: model whose shipped weights the runs start from; "": fresh weights.
      fields: of the module.
      loss: fields of the objective.
    """

    model: str
    steps: int
    rate: float
    start: str
    fields: Mapping[str, Any]
    loss: Mapping[str, Any]


NETWORKS = {
    "fresh": Network("d_ifrnet", 1000, 1e-3, "", {"widths": (12, 16, 20, 24)}, {"geometry_weight": 0.0}),
    "shipped": Network("rife_lap_s", 400, 2e-4, "rife_lap_s", {}, {"pyramid_levels": 3}),
}


@dataclasses.dataclass(frozen=True)
class Scored:
    """A window that is scored.

    Attributes:
      kind: "scenes" or "clips".
      frames: at all eighths, from 0 to 1.
      maps: the true distance of every pixel of the first frame, at `TIMES`.
    """

    kind: str
    frames: Window
    maps: Maps


def accelerated(seed: int, side: int, photos: Sequence[np.ndarray]) -> Scene:
    """A scene for times 0 to 1 whose surfaces speed up or slow down; their first and last places stay."""
    rng = np.random.default_rng([seed, 1])
    speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
    scene = random_scene(seed, side, side, layers=int(rng.integers(1, 5)), speed=speed, photos=photos)

    def changed(layer: Layer) -> Layer:
        motion, k = layer.motion, rng.uniform(-1, 1)
        way = np.add(motion.velocity, np.multiply(motion.acceleration, 0.5))
        return dataclasses.replace(layer, motion=_paced(motion, way, k))

    return dataclasses.replace(scene, background=changed(scene.background), layers=tuple(map(changed, scene.layers)))


def _paced(motion: Motion, way: Float[np.ndarray, "2"], k: float) -> Motion:
    velocity, acceleration = ((1 - k) * way).tolist(), (2 * k * way).tolist()
    return dataclasses.replace(motion, velocity=tuple(velocity), acceleration=tuple(acceleration))


def _rendered(scene: Scene, at: float) -> UInt8[np.ndarray, "h w 3"]:
    return np.rint(255 * scene.frame(at)).astype(np.uint8)


def photos_of(data: Path, *, held_out: bool) -> list[np.ndarray]:
    """Every second photo for training, the others for the scenes that are scored."""
    paths = sorted(filter(images.is_image, (data / "photos").iterdir()))
    return [images.to_uint8(images.load_image(path)) for path in paths[int(held_out) :: 2]]


# Training


def prepare(work: Path, data: Path) -> Path:
    """Writes the training scenes as folders of images, and their maps by both methods; returns their folder."""
    folder = work / "scenes"
    photos = photos_of(data, held_out=False)
    for seed in range(SCENES):
        if (folder / f"{seed:06d}/im{FRAMES}.png").exists():
            continue
        (folder / f"{seed:06d}").mkdir(parents=True, exist_ok=True)
        scene = accelerated(seed, SIDE, photos)
        for number, at in enumerate(np.linspace(0, 1, FRAMES), 1):
            with written_whole(folder / f"{seed:06d}/im{number}.png") as partial:
                save_png(partial, _rendered(scene, float(at)))
    write_distance_maps(str(folder), DIS, weights=None)
    _write_exact_maps(folder, photos)
    return folder


def _write_exact_maps(path: Path, photos: Sequence[np.ndarray]) -> None:
    about = {"teacher": EXACT, "weights": "", "frames": FRAMES, "windows": SCENES}
    folder = folder_of(path, EXACT, "train", KIND)

    def label(windows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Float16[np.ndarray, "m h2 w2"]]]:
        for window in windows:
            yield window["name"], _exact_maps(accelerated(int(window["name"]), SIDE, photos))

    with label_files.opened(folder, about):
        label_files.write_files(
            sources.open_source(str(path), 0), folder, label,
            metadata={METADATA_KEY: strict_json.dumps(about)}, length=FRAMES, per_file=PER_FILE, unit="distance",
        )  # fmt: skip


def _exact_maps(scene: Scene) -> Float16[np.ndarray, "m h2 w2"]:
    at = np.linspace(0, 1, FRAMES).tolist()
    flows = {(a, b): scene.flow(at[a], at[b]) for a, b in itertools.permutations(range(FRAMES), 2)}
    return np.stack([stored(projected(flows[a, b], flows[a, c])) for a, b, c in triples(FRAMES)])


def recipe(scenes: Path, network: Network, kind: str, seed: int) -> config.Train:
    """The recipe of a run; kinds differ in the maps alone."""
    data = {
        "path": str(scenes), "window": {"frames": FRAMES, "sorted_share": 1.0},
        "distance": {"maps": KINDS[kind], "blur": SMOOTH.blur, "blur_at": SMOOTH.blur_at},
    }  # fmt: skip
    return experiment.recipe(
        steps=network.steps, rate=network.rate, crop=CROP, data=data, seed=seed, model=network.model,
        fields=network.fields, loss=network.loss, init_from={"model": network.start},
    )  # fmt: skip


# Scoring


def held_out_scenes(data: Path) -> list[Scored]:
    """Scenes of other seeds and photos, with the maps of their own flow."""
    photos, windows = photos_of(data, held_out=True), []
    for seed in range(FIRST_HELD_OUT, FIRST_HELD_OUT + HELD_OUT):
        scene = accelerated(seed, LARGE, photos)
        frames = np.stack([_rendered(scene, at) for at in (0, *TIMES, 1)])
        flows = [scene.flow(0, at) for at in (*TIMES, 1)]
        windows.append(Scored("scenes", frames, _maps(flows)))
    return windows


def real_windows(data: Path) -> list[Scored]:
    """The first nine frames of clips that move, the middle of each frame, with the maps of DIS."""
    (method, _), windows = pairwise_method(DIS, None), []
    for folder in (data / "devset/clips", data / "train"):
        for path in images.videos_in(folder):
            frames = _opening(path)
            if frames is not None and len(windows) < CLIPS:
                flows = [method(frames[None, [0, index]])[0] for index in range(1, 9)]
                windows.append(Scored("clips", frames, _maps(flows)))
    return windows


def _opening(path: Path) -> Window | None:
    with Reader(path) as reader:
        decoded = [images.to_uint8(frame.image) for frame in itertools.islice(reader.frames(), 9)]
    if len(decoded) < 9:
        return None
    ratio = (LARGE + LARGE // 8) / min(decoded[0].shape[:2])
    size = [round(side * ratio) for side in decoded[0].shape[1::-1]]
    frames = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in decoded])
    top, left = ((side - LARGE) // 2 for side in frames.shape[1:3])
    frames = frames[:, top : top + LARGE, left : left + LARGE]
    cut = max(_change(a, b) for a, b in itertools.pairwise(frames)) > CUTS
    return None if cut or _change(frames[0], frames[-1]) < MOVES else frames


def _change(first: np.ndarray, second: np.ndarray) -> float:
    return float(cv2.absdiff(first, second).mean())


def _maps(flows: Sequence[np.ndarray]) -> Maps:
    """Maps as in training, from the flows to `TIMES` and to 1; where nothing moves the distance is the time."""
    halves = [stored(projected(flow, flows[-1])) for flow in flows[:-1]]
    filled = [np.where(np.isfinite(half), half, np.float16(at)) for half, at in zip(halves, TIMES, strict=True)]
    return np.stack([of_frame(half, flows[0].shape[:2], SMOOTH) for half in filled])[..., None]


Predict = Callable[[Scored], UInt8[np.ndarray, "7 h w 3"]]


class Part(NamedTuple):
    """A unit of scoring: a network trained in one way, with one form of maps.

    Attributes:
      network: a name in `NETWORKS`, or "mean": the mean of both inputs.
      run: a name in `KINDS`, or "as shipped": the weights that runs start from.
      seed: of the run.
      maps: "uniform", one distance for all pixels, or "true".
    """

    network: str
    run: str
    seed: int | str
    maps: str


def parts(seeds: int) -> Iterator[Part]:
    """All that is scored."""
    yield Part("mean", "", "", "")
    for name, network in NETWORKS.items():
        if network.start:
            yield Part(name, SHIPPED, "", "uniform")
        for kind, seed, maps in itertools.product(KINDS, range(seeds), MAPS):
            yield Part(name, kind, seed, maps)


def predictor(work: Path, part: Part) -> Predict:
    """Loads the weights of a part."""
    if part.network == "mean":
        return blended
    network = NETWORKS[part.network]
    if part.run == SHIPPED:
        interpolate = Interpolator(*load(network.start))
    else:
        interpolate = Interpolator(*load(network.model, work / "-".join(map(str, part[:3])), step="newest"))

    def predict(window: Scored) -> UInt8[np.ndarray, "7 h w 3"]:
        first, last = (np.repeat(window.frames[[index]], len(TIMES), 0) for index in (0, -1))
        uniform = np.broadcast_to(np.float32(TIMES)[:, None, None, None], window.maps.shape)
        return interpolate(first, last, t=np.clip(window.maps, 0, 1) if part.maps == "true" else uniform)

    return predict


def blended(window: Scored) -> UInt8[np.ndarray, "7 h w 3"]:
    """The mean of both inputs, weighted by time."""
    at = np.float32(TIMES)[:, None, None, None]
    return np.rint((1 - at) * window.frames[0] + at * window.frames[-1]).astype(np.uint8)


def scores(
    windows: Sequence[Scored], predict: Predict, params: Mapping[str, Any] | None
) -> Iterator[dict[str, object]]:
    """A row per set and time: means over windows."""
    for kind in dict.fromkeys(window.kind for window in windows):
        of_kind = [window for window in windows if window.kind == kind]
        found = [(predict(window), window.frames[1:-1]) for window in of_kind]
        figures = {"psnr": [psnr(*pair) for pair in found], "sharpness": [sharpness(*pair) for pair in found]}
        if params is not None:
            figures["lpips"] = [lpips("alex", params, *pair) for pair in found]
        for index, at in enumerate(TIMES):
            means = {name: f"{np.mean([each[index] for each in values]):.4f}" for name, values in figures.items()}
            yield {"set": kind, "time": at, "images": len(of_kind), **means}


def measured(
    work: Path, windows: Sequence[Scored], params: Mapping[str, Any] | None, seeds: int
) -> list[dict[str, Any]]:
    """The rows of all runs, and of the mean of the inputs."""
    about, rows = experiment.about(f"results/distance.py WORK DATA --seeds {seeds}"), []
    for part in parts(seeds):
        file = work / f"scores/{'-'.join(map(str, part))}.json"
        scored = experiment.kept(file, lambda part=part: list(scores(windows, predictor(work, part), params)))
        rows += [{**part._asdict(), "lpips": "", **row, **about} for row in scored]
    return rows


# The picture


def drawn(work: Path, windows: Sequence[Scored]) -> np.ndarray:
    """The middle frames of the first two scenes and the first two clips by each kind of run, beside the truth."""
    chosen = [window for kind in ("scenes", "clips") for window in [w for w in windows if w.kind == kind][:2]]
    middle = len(TIMES) // 2
    rows = [[(window.frames[middle + 1], f"{window.kind}: true")] for window in chosen]
    for kind, maps in (("t", "uniform"), *itertools.product((EXACT, DIS), MAPS)):
        predict = predictor(work, Part("shipped", kind, 0, maps))
        for row, window in zip(rows, chosen, strict=True):
            row.append((predict(window)[middle], "t" if kind == "t" else f"{kind}, {maps}"))
    return sheet(rows)


def main() -> None:
    """Prepares, trains, scores and draws."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kind")
    parser.add_argument("--lpips", type=Path, metavar="FOLDER", help="weights of LPIPS")
    options = parser.parse_args()
    scenes = prepare(options.work, options.data)
    for seed, name, kind in itertools.product(range(options.seeds), NETWORKS, KINDS):
        experiment.train(recipe(scenes, NETWORKS[name], kind, seed), options.work / f"{name}-{kind}-{seed}")
    params = perceptual.read_params(options.lpips, "alex") if options.lpips else None
    windows = [*held_out_scenes(options.data), *real_windows(options.data)]
    rows = measured(options.work, windows, params, options.seeds)
    experiment.write_rows(TABLE, rows)
    save_png(PICTURE, drawn(options.work, windows))


if __name__ == "__main__":
    main()
