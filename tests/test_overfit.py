"""Recipes learn: each `overfit` variant gets windows of real clips by heart, far beyond the mean of the two frames."""

import dataclasses
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from vfi_jax import config, fit, runs
from vfi_jax.benchmarks import average
from vfi_jax.config import Footage
from vfi_jax.data import footage, sources
from vfi_jax.data.augment import validation_sample
from vfi_jax.metrics import psnr
from vfi_jax.picture import save_png

DATA = os.environ.get("VFI_JAX_DATA")
WINDOWS, SIDE = 8, 128
GAIN = 5.0  # dB above the mean of the two frames


def overfit_variants():
    """The overfit variant of every recipe that has one."""
    for path in sorted((Path(__file__).parent.parent / "configs").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if "`overfit`" in module.__doc__:
            yield pytest.param(module.get_config("overfit").to_dict(), id=path.stem)


def cut(folder, length):
    """Writes the middles of one window each of the smallest clips that move, as folders of PNGs."""
    made = 0
    settings = Footage(frames=length, step=length, short_side=SIDE + SIDE // 8, static=6.0, per_clip=1)
    for path in sorted(footage.videos_in(Path(DATA) / "train"), key=lambda path: path.stat().st_size):
        for _, frames in footage.windows(footage.analyse(path, settings), settings):
            top, left = ((side - SIDE) // 2 for side in frames.shape[1:3])
            (folder / f"{made}").mkdir(parents=True)
            for index, frame in enumerate(frames[:, top : top + SIDE, left : left + SIDE], 1):
                save_png(folder / f"{made}" / f"im{index}.png", frame)
            made += 1
        if made == WINDOWS:
            return
    raise AssertionError(f"{made} clips of {length} frames that move")


def averaging(folder, window):
    """Mean PSNR of the mean of the frames around the target."""
    samples = [validation_sample(record, window) for record in sources.open_source(str(folder), window.frames)]
    middle = len(samples[0]["frames"]) // 2
    return np.mean([psnr(average(*sample["frames"][middle - 1 : middle + 1]), sample["target"]) for sample in samples])


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="VFI_JAX_DATA names no folder with footage")
@pytest.mark.parametrize("values", overfit_variants())
def test_eight_windows_are_learned_by_heart(values, tmp_path):
    run = config.parse(config.Train, values)
    folder = tmp_path / "windows"
    cut(folder, run.data.window.frames)
    data = dataclasses.replace(run.data, path=str(folder), validation=str(folder))
    fit.fit(dataclasses.replace(run, data=data), tmp_path / "run")
    scores = [row["validation_psnr"] for row in runs.read_log(tmp_path / "run") if "validation_psnr" in row]
    mean = averaging(folder, run.data.window)
    print(f"{scores[-1]:.2f} dB, the mean of the two frames {mean:.2f} dB")
    assert scores[-1] > mean + GAIN
