"""Runs of `vfi-jax interpolate` that are killed at random moments, beside one that is not: equal bytes.

    python results/kills.py --kills 20

A clip is generated; the command is started, killed by SIGKILL after a random time, and started again, until it has
been killed so often; the last run ends by itself. The row says for each output whether both files have the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import random
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vfi_jax.system import machine
from vfi_jax.system.files import sha256_of, written_whole

FIELDS = ("output", "frames", "kills", "resumed", "equal", "whole_s", "killed_s", "date", "versions", "command")
MOMENTS = (0.3, 0.9)  # of the time of a whole run; before the first, little is encoded


def main() -> None:
    """Writes `results/kills.csv`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outputs", nargs="+", default=["out.mp4", "out.mkv"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = write_clip(Path(folder) / "in.mkv", options.frames)
        rows = [measure(source, name, options) for name in options.outputs]
    with written_whole(Path(__file__).with_suffix(".csv")) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_clip(path: Path, frames: int) -> Path:
    """Writes noise that moves, 64x48, without losses."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64 + frames, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for i in range(frames):
            picture = np.ascontiguousarray(noise[:, i : i + 64])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path


def measure(source: Path, name: str, options: argparse.Namespace) -> dict[str, object]:
    """Returns the row of an output."""
    draw = random.Random(options.seed)
    whole, killed = source.parent / f"whole_{name}", source.parent / f"killed_{name}"
    begun = time.perf_counter()
    run(source, whole).wait()
    taken = time.perf_counter() - begun
    kills = resumed = 0
    begun = time.perf_counter()
    while kills < options.kills:
        with run(source, killed) as process:
            try:
                process.wait(draw.uniform(*MOMENTS) * taken)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            _, text = process.communicate()
        resumed += "which goes on" in text
        if process.returncode == 0:  # killed too late: from the beginning
            print(f"{name}: complete after {kills} kills", flush=True)
            if sha256_of(whole) != sha256_of(killed):
                break
            killed.unlink()
    with run(source, killed) as process:
        resumed += "which goes on" in process.communicate()[1]
    equal = process.returncode == 0 and sha256_of(whole) == sha256_of(killed)
    left = sorted(path.name for path in source.parent.iterdir() if path.name.startswith("."))
    print(f"{name}: {kills} kills, {resumed} runs went on, equal: {equal}, left: {left}", flush=True)
    return {
        "output": name,
        "frames": options.frames,
        "kills": kills,
        "resumed": resumed,
        "equal": equal,
        "whole_s": round(taken, 1),
        "killed_s": round(time.perf_counter() - begun, 1),
        "date": datetime.date.today().isoformat(),
        "versions": " ".join(f"{package} {machine.version_of(package)}" for package in ("vfi_jax", "jax", "av")),
        "command": machine.provenance()["command"],
    }


def run(source: Path, target: Path) -> subprocess.Popen[str]:
    """Starts the command, with the smallest of the shipped models."""
    command = [sys.executable, "-m", "vfi_jax.cli", "interpolate", source, "-o", target, "--fast", "--sound", "drop"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


if __name__ == "__main__":
    main()
