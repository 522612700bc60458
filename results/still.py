"""Time and PSNR of copying still tiles: `python results/still.py WORK`; writes `still.csv`.

WORK keeps rows between calls. Clips of 1280x720 with exact middle frames, as drawn and after H.264 (libx264, CRF 18):
"animation", two objects over a still background, each drawing shown twice; "screen", a page of letters at rest, a clock
hand that turns in a corner and a dialog that glides. Each is doubled by the shipped models with
`Interpolator(copy_still=True)` and without, pair by pair in turn in one process. Seconds are of the processor, per new
frame; "computed" is the pixels of the windows that are computed, over those of the frame.
"""

import argparse
import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import av
import experiment
import numpy as np

from vfi_jax import Interpolator
from vfi_jax.data.synthetic import textures
from vfi_jax.data.synthetic.scenes import Motion, Scene, cutout_layer, opaque_layer
from vfi_jax.inference import still
from vfi_jax.metrics import psnr
from vfi_jax.weights.load import load

TABLE = Path(__file__).parent / "still.csv"
HEIGHT, WIDTH, FRAMES = 720, 1280, 9
MODELS, KINDS, CODINGS = ("rife_lap", "rife_lap_s"), ("animation", "screen"), ("drawn", "H.264")


def scene_of(kind):
    """The scene of a clip, for times 0 to 4."""
    rng = np.random.default_rng(5)
    resting = Motion((WIDTH / 2, HEIGHT / 2))
    if kind == "animation":
        back = opaque_layer(textures.terrain(rng, 2 * HEIGHT, 2 * WIDTH), resting)
        things = [textures.clouds(rng, 360, 360), textures.tiles(rng, 240, 300)]
        ways = [Motion((300, 400), (22, -6)), Motion((760, 300), (-9, 14), spin=0.05)]
    else:
        back = opaque_layer(textures.letters(rng, 2 * HEIGHT, 2 * WIDTH), resting)
        things = [textures.tiles(rng, 60, 220), textures.letters(rng, 260, 420)]
        ways = [Motion((1150, 100), spin=0.15), Motion((420, 420), (16, 5))]
    cut = [cutout_layer(image, textures.superellipse(4), way) for image, way in zip(things, ways, strict=True)]
    return Scene(HEIGHT, WIDTH, back, tuple(cut))


def drawn(kind):
    """Frames of a clip, and the true frames between them; an animation shows each drawing twice."""
    scene, pace = scene_of(kind), 2 if kind == "animation" else 1

    def at(time: float) -> np.ndarray:
        return np.rint(255 * scene.frame(time)).astype(np.uint8)

    frames = [at(number // pace) for number in range(FRAMES)]
    between = [
        at(number // pace if number // pace == (number + 1) // pace else number // pace + 0.5)
        for number in range(FRAMES - 1)
    ]
    return np.stack(frames), np.stack(between)


def coded(frames: np.ndarray) -> np.ndarray:
    """Frames after H.264."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as source:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])


def measured(model: str, kind: str, coding: str) -> Iterator[dict[str, str]]:
    """The row of a model and a clip."""
    frames, truths = drawn(kind)
    if coding == "H.264":
        frames = coded(frames)
    variables = load(model)
    forms = {"plain": Interpolator(*variables), "copying": Interpolator(*variables, copy_still=True)}
    for interpolate in forms.values():
        for pair in itertools.pairwise(frames[:3]):  # compiles
            interpolate(*pair)
    seconds, scores = ({name: [] for name in forms} for _ in range(2))
    for pair, truth in zip(itertools.pairwise(frames), truths, strict=True):
        for name, interpolate in forms.items():
            begun = time.process_time()
            frame = interpolate(*pair)
            seconds[name].append(time.process_time() - begun)
            scores[name].append(psnr(frame, truth))
    figures = {f"{what} {name}": np.mean(values[name]) for what, values in (("s", seconds), ("PSNR", scores))
               for name in forms}  # fmt: skip
    row = {"model": model, "clip": kind, "coding": coding, "size": f"{WIDTH}x{HEIGHT}"}
    computed = np.mean([computed_share(np.stack(pair)) for pair in itertools.pairwise(frames)])
    yield (
        row
        | {"computed": f"{computed:.3f}"}
        | {name: f"{value:.3f}" for name, value in figures.items()}
        | {"ratio": f"{figures['s copying'] / figures['s plain']:.3f}"}
    )


def computed_share(pair: np.ndarray) -> float:
    """Pixels of the windows that are computed, over those of the frame."""
    pixels = []

    def compute(part: np.ndarray) -> Iterator[np.ndarray]:
        pixels.append(part[0, ..., 0].size)
        yield part[0]

    list(still.composed(pair, compute, 1))
    return sum(pixels) / (HEIGHT * WIDTH)


def main() -> None:
    """A row for each model, clip and coding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    about, rows = experiment.about("results/still.py WORK"), []
    for model, kind, coding in itertools.product(MODELS, KINDS, CODINGS):
        rows += experiment.kept(
            options.work / f"{model}-{kind}-{coding}.json",
            lambda case=(model, kind, coding): [row | about for row in measured(*case)],
        )
    experiment.write_rows(TABLE, rows)


if __name__ == "__main__":
    main()
