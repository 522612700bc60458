"""Small benchmark sets in the published layouts, and eval.py in this process."""

import importlib.util
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from absl.testing import flagsaver

from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.viz.sheets import save_png

ROOT = Path(__file__).parent.parent
SIZE = (32, 48)


def draw(seed, size=SIZE, count=3):
    """Pictures of a synthetic scene at even times."""
    scene = random_scene(seed, *size, speed=4)
    return [np.rint(255 * scene.frame(time)).astype(np.uint8) for time in np.linspace(0, 1, count)]


def write(folder, names, seed, size=SIZE):
    folder.mkdir(parents=True)
    for name, image in zip(names, draw(seed, size, len(names)), strict=True):
        save_png(folder / f"{name}.png", image)


def write_sets(root):
    """Three UCF101 triplets, three of Middlebury's in two sizes, and Vimeo90K's layouts with test lists."""
    for number in (1, 11, 2):
        write(root / f"ucf101_interp_ours/{number}", ("frame_00", "frame_01_gt", "frame_02"), number)
    for number, (scene, size) in enumerate({"Beanbags": (40, 56), "Venus": SIZE, "Walking": SIZE}.items()):
        first, truth, second = draw(number, size)
        inputs, truths = root / "middlebury/other-data" / scene, root / "middlebury/other-gt-interp" / scene
        files = {inputs / "frame10.png": first, inputs / "frame11.png": second, truths / "frame10i11.png": truth}
        for file, image in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_png(file, image)
    for number in range(3):
        write(root / f"vimeo_triplet/sequences/00001/000{number}", ("im1", "im2", "im3"), number)
    (root / "vimeo_triplet/tri_testlist.txt").write_text("00001/0002\n00001/0000\n\n")
    for number in range(2):
        names = [f"im{index}" for index in range(1, 8)]
        write(root / f"vimeo_septuplet/sequences/00001/000{number}", names, number)
    (root / "vimeo_septuplet/sep_testlist.txt").write_text("00001/0001\n00001/0000\n")
    return root


def program():
    """The module eval.py; a process can define its flags once, so it is shared with docs/generate.py."""
    if "eval" not in sys.modules:
        spec = importlib.util.spec_from_file_location("eval", ROOT / "eval.py")
        sys.modules["eval"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["eval"])
    return sys.modules["eval"]


def run_eval(*arguments):
    """Runs eval.py in this process; returns its exit status."""
    script, command = program(), ["eval.py", *map(str, arguments)]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", command):
        try:
            script.main(script.parse_flags(command))
        except SystemExit as leaving:
            return leaving.code
    return 0


def table_of(text):
    """Cells of the first table in a text."""
    lines = text[text.index("|") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
