"""The picture of docs/distance.md: two balls between two frames, first alike, then each at its own pace.

    python results/objects.py -o docs/images/objects.png

The model is the shipped one; the scene is drawn, so that the true frames of both are known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from vfi_jax.data.distance_maps import sampled_curve
from vfi_jax.inference import Interpolator
from vfi_jax.inference.editing import Timed, retimed
from vfi_jax.viz.sheets import save_png, sheet

SIZE, RADIUS, WAY = (160, 160), 24, 32  # pixels
STARTS = ((56, 40), (56, 120))  # (x, y) of both balls in the first frame; they move to the right
CURVES = ((0.0, 0.0, 0.25, 1.0), (0.0, 0.75, 1.0, 1.0))  # late, and early
COLORS = ((120, 125, 130), (220, 120, 50), (60, 120, 220))  # of background and balls
TIMES = (0.25, 0.5, 0.75)


def texture(seed: int, color: tuple[int, int, int]) -> np.ndarray:
    """A smooth random texture around a color, `[h, w, 3]` uint8."""
    coarse = np.random.default_rng(seed).integers(-40, 41, (SIZE[0] // 8, SIZE[1] // 8, 1)) + np.float32(color)
    return np.uint8(np.clip(cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC), 0, 255))


def masks(paces: tuple[float, float]) -> np.ndarray:
    """Where the balls are after they have covered these fractions of their way: `[2, h, w]`."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    places = [(left + WAY * way, top) for (left, top), way in zip(STARTS, paces, strict=True)]
    return np.stack([(x - left) ** 2 + (y - top) ** 2 < RADIUS**2 for left, top in places])


def ways() -> np.ndarray:
    """The masks: all that the balls sweep over, as the shipped weights, which learned from times, need it."""
    return np.stack([masks((way, way)) for way in np.linspace(0, 1, WAY + 1)]).any(0)


def drawn(paces: tuple[float, float]) -> np.ndarray:
    """The frame in which the balls have covered these fractions of their way."""
    frame = texture(0, COLORS[0])
    for index, (mask, way) in enumerate(zip(masks(paces), paces, strict=True)):
        moved = np.float32([[1, 0, WAY * way], [0, 1, 0]])
        ball = cv2.warpAffine(texture(index + 1, COLORS[index + 1]), moved, SIZE[::-1], borderMode=cv2.BORDER_REFLECT)
        frame[mask] = ball[mask]
    return frame


def main() -> None:
    """Writes the picture and prints the PSNR of the middle frames."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".png")
    output = parser.parse_args().output
    first, second = drawn((0, 0)), drawn((1, 1))
    interpolate = Interpolator()
    objects = [Timed(mask, curve) for mask, curve in zip(ways(), CURVES, strict=True)]
    paces = [tuple(float(sampled_curve(curve, [t])[0]) for curve in CURVES) for t in TIMES]
    rows = [
        [first, *[interpolate(first, second, t=t) for t in TIMES], second],
        [first, *retimed(interpolate, (first, second), objects, TIMES), second],
        [first, *[drawn(pace) for pace in paces], second],
    ]
    for name, row in (("edited", rows[1]), ("uniform", rows[0])):
        errors = [np.mean((np.float64(a) - b) ** 2) for a, b in zip(row[1:-1], rows[2][1:-1], strict=True)]
        print(name, *[f"{10 * np.log10(255**2 / error):.2f} dB" for error in errors])
    titles, times = ("all alike", "--objects", "true"), (0, *TIMES, 1)
    cells = [
        [(frame, f"{title}, t = {t:g}") for frame, t in zip(row, times, strict=True)]
        for title, row in zip(titles, rows, strict=True)
    ]
    save_png(output, sheet(cells))


if __name__ == "__main__":
    main()
