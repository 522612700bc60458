"""Recipes learn: each `overfit` variant memorizes windows of real clips, far beyond the mean of the two frames."""

import dataclasses
import importlib.util
import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from vfi_jax import config
from vfi_jax.data import images as images_
from vfi_jax.data import sources
from vfi_jax.data.images import average
from vfi_jax.data.windows import frame_selections, inner_inputs, validation_sample
from vfi_jax.metrics import psnr
from vfi_jax.prepare.distances import write_distance_maps
from vfi_jax.prepare.flow_labels import write_flow_labels
from vfi_jax.runs.log import read_log
from vfi_jax.training import fit
from vfi_jax.video.coding.decode import Reader
from vfi_jax.viz.sheets import save_png

DATA = os.environ.get("VFI_JAX_DATA")
WINDOWS, SIDE = 8, 128
MOVES, CUTS = 12.0, 30.0  # change between the inputs around the target, and between neighbors, mean of levels
MINUTES = (  # recipes whose overfit variant takes more than about five minutes
    *("amt_s", "cspa_vimeo90k", "d_amt_s", "d_ema_vfi", "d_ifrnet", "d_rife", "dr_rife", "ifrnet_vimeo90k"),
    *("ugsp", "ugsp_uncertainty"),
    *("dbvi_vimeo90k_septuplet", "ema_vfi_vimeo90k", "vfit_vimeo90k_septuplet"),
)
GAIN = 5.0  # dB above the mean of the two frames


def overfit_variants():
    """The overfit variant of every recipe that has one."""
    for path in sorted((Path(__file__).parent.parent / "configs").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if "`overfit`" in module.__doc__:
            marks = [pytest.mark.long] if path.stem in MINUTES else []
            yield pytest.param(module.get_config("overfit").to_dict(), id=path.stem, marks=marks)


def opening(path, window):
    """The middle of the first frames of a clip, reduced; None where they hardly move, or too much for one scene."""
    with Reader(path) as reader:
        images = [images_.to_uint8(frame.image) for frame in itertools.islice(reader.frames(), window.frames)]
    height, width = images[0].shape[:2]
    ratio = (SIDE + SIDE // 8) / min(height, width)
    size = round(width * ratio), round(height * ratio)
    frames = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
    top, left = ((side - SIDE) // 2 for side in frames.shape[1:3])
    frames = frames[:, top : top + SIDE, left : left + SIDE]
    if len(frames) < window.frames:
        return None
    (before, *_), (after, *_) = inner_inputs(frame_selections(window)[0])
    moves = change(frames[before], frames[after]) > MOVES
    return frames if moves and max(map(change, frames, frames[1:])) < CUTS else None


def change(first, second):
    """Mean difference, levels of 255."""
    return float(cv2.absdiff(first, second).mean())


def cut(folder, window):
    """Writes the openings of the smallest clips that move, as folders of PNGs."""
    clips = sorted(images_.videos_in(Path(DATA) / "train"), key=lambda path: path.stat().st_size)
    found = (frames for path in clips if (frames := opening(path, window)) is not None)
    for number, frames in enumerate(itertools.islice(found, WINDOWS)):
        (folder / f"{number}").mkdir(parents=True)
        for index, frame in enumerate(frames, 1):
            save_png(folder / f"{number}" / f"im{index}.png", frame)
    assert number == WINDOWS - 1, "too few clips that move"


def averaging(folder, window):
    """Mean PSNR of the mean of the frames around the target."""
    samples = [validation_sample(record, window) for record in sources.open_source(str(folder), window.frames)]
    middle = len(samples[0]["frames"]) // 2
    return np.mean([psnr(average(*sample["frames"][middle - 1 : middle + 1]), sample["target"]) for sample in samples])


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="VFI_JAX_DATA names no folder with footage")
@pytest.mark.parametrize("values", list(overfit_variants()))
def test_eight_windows_are_memorized(values, tmp_path):
    run = config.parse(config.Train, values)
    folder = tmp_path / "windows"
    cut(folder, run.data.window)
    if teacher := run.data.labels:
        window = run.data.window
        write_flow_labels(str(folder), teacher, weights=None, inputs=window.inputs, target=window.target)
    if maps := run.data.distance.maps:
        write_distance_maps(str(folder), maps, weights=None)
    data = dataclasses.replace(run.data, path=str(folder), validation=str(folder))
    fit.fit(dataclasses.replace(run, data=data), tmp_path / "run")
    scores = [row["validation_psnr"] for row in read_log(tmp_path / "run") if "validation_psnr" in row]
    mean = averaging(folder, run.data.window)
    print(f"{scores[-1]:.2f} dB, the mean of the two frames {mean:.2f} dB")
    assert scores[-1] > mean + GAIN
