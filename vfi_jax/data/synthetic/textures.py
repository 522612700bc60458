"""Textures of scenes: generated patterns, parts of photos, and outlines of layers.

Colors are float32 RGB in 0..1, sizes are in texels, and each function draws from the generator that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

Random = np.random.Generator
Image = Float32[np.ndarray, "h w 3"]
Colors = Float32[np.ndarray, "n 3"]
Outline = Float[np.ndarray, "720"]  # distance from the center at `ANGLES`, relative to half a side, at most 1
ANGLES = np.linspace(0, 2 * np.pi, 720, endpoint=False)
MARGIN = 5.0  # texels left empty around an outline, so that its soft edge ends inside the texture


def noise(rng: Random, height: int, width: int, coarsest: float, finest: float = 3.0) -> Float32[np.ndarray, "h w"]:
    """Draws value noise in 0..1: octaves from `coarsest` to `finest` texels, amplitude wavelength^0.8."""
    total, cell = np.zeros((height, width), np.float32), coarsest
    while cell >= finest:
        rows, columns = int(height / cell) + 3, int(width / cell) + 3
        grid = cv2.resize(
            rng.random((rows, columns), np.float32), None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC
        )
        total += cell**0.8 * grid[int(cell) :, int(cell) :][:height, :width]
        cell /= 2
    return (total - total.min()) / (np.ptp(total) + 1e-6)


def rgb(*codes: int) -> Colors:
    """Returns colors from codes such as 0xRRGGBB."""
    return np.array([[code >> 16, code >> 8 & 255, code & 255] for code in codes], np.float32) / 255


def ramp(value: Float[np.ndarray, "h w"], colors: Colors, stops: Sequence[float] | None = None) -> Image:
    """Maps values in 0..1 to colors by interpolation between `colors`, which lie at `stops` or at even distances."""
    stops = np.linspace(0, 1, len(colors)) if stops is None else stops
    return np.stack([np.interp(value, stops, channel) for channel in colors.T], axis=-1).astype(np.float32)


def palette(rng: Random, count: int) -> Colors:
    """Draws `count` colors of two families of hue, from dark to light, in random order."""
    hue = (rng.uniform(0, 360) + rng.choice([0, 30, 180], count) + rng.normal(0, 15, count)) % 360
    hsv = np.stack([hue, rng.uniform(0.3, 0.95, count), rng.permutation(np.linspace(0.2, 1, count))], axis=-1)
    return cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0]


def clouds(rng: Random, height: int, width: int) -> Image:
    """Draws value noise in six colors."""
    return ramp(noise(rng, height, width, max(8.0, rng.uniform(0.1, 0.4) * height)), palette(rng, 6))


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions relative to the center: x `[1, width]` and y `[height, 1]`."""
    return np.arange(width)[None] - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2


def tiles(rng: Random, height: int, width: int) -> Image:
    """Draws checks, bricks or stripes at an angle, with a random color per tile."""
    (x, y), angle, cell = _grid(height, width), rng.uniform(0, np.pi), rng.uniform(12, 40)
    aspect = rng.choice([1, 2.5, 1e4])
    row = np.floor((y * np.cos(angle) - x * np.sin(angle)) / cell).astype(int)
    # the quarter keeps the ends of stripes away from the center
    column = np.floor((x * np.cos(angle) + y * np.sin(angle)) / (cell * aspect) + 0.25 + 0.5 * (row % 2)).astype(int)
    return palette(rng, 6)[rng.integers(6, size=(31, 37))[row % 31, column % 37]]


def sectors(colors: Colors, height: int, width: int, spokes: int, rings: int) -> Image:
    """Draws a wheel of `spokes` sectors by `rings` rings, in which neighbors differ in color."""
    x, y = _grid(height, width)
    ring = np.floor(rings * 2 * np.hypot(x / width, y / height)).astype(int)
    sector = np.floor((np.arctan2(y / height, x / width) / (2 * np.pi) + 0.5) * spokes).astype(int)
    return colors[(sector + ring) % len(colors)]


def write(image: Image, text: str, place: tuple[float, float], size: float, color: Float32[np.ndarray, "3"]) -> None:
    """Writes letters into `image`, in place; `place` is the left end of the baseline, `size` the height of capitals."""
    base = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1, 2)[0][1]
    alpha = np.zeros(image.shape[:2], np.uint8)
    at, thick = (int(place[0]), int(place[1])), max(1, round(size / 10))
    cv2.putText(alpha, text, at, cv2.FONT_HERSHEY_DUPLEX, size / base, 255, thick, cv2.LINE_AA)
    alpha = alpha[..., None] / np.float32(255)
    image += alpha * (color.astype(np.float32) - image)


def letters(rng: Random, height: int, width: int) -> Image:
    """Draws lines of random letters over clouds."""
    image, colors = clouds(rng, height, width), palette(rng, 6)
    baseline = 0.0
    while baseline < height:
        size = rng.uniform(16, 48)
        baseline += 1.4 * size
        text = "".join(rng.choice(list("ABCDEFGHKMNPRSTUVXYZabdeghkmnpqrstuy23456789&@#"), int(width / size) + 2))
        write(image, text, (rng.uniform(-size, 0), baseline), size, colors[rng.integers(6)])
    return image


def terrain(rng: Random, height: int, width: int) -> Image:
    """Draws land and sea from above, lit from the upper left."""
    level = noise(rng, height, width, 0.5 * min(height, width))
    colors = rgb(0x163A69, 0x287896, 0x60B2AA, 0xE8D5A0, 0x80A84E, 0x30683E, 0x706254, 0x968C84, 0xF6F6FA)
    image = ramp(level, colors, [0.0, 0.3, 0.42, 0.45, 0.5, 0.62, 0.72, 0.82, 0.95])
    down, right = np.gradient(cv2.GaussianBlur(level, (0, 0), 1.5))
    return image * (0.9 + 14 * (right + down) * np.where(level > 0.43, np.float32(1), np.float32(0.3)))[..., None]


def texture(rng: Random, height: int, width: int) -> Image:
    """Draws one of the patterns above, with grain."""
    kind = rng.choice(["clouds", "tiles", "letters", "terrain", "sectors"])
    if kind == "sectors":
        image = sectors(palette(rng, 5), height, width, 5 * int(rng.integers(2, 6)), int(rng.integers(3, 8)))
    else:
        image = {"clouds": clouds, "tiles": tiles, "letters": letters, "terrain": terrain}[kind](rng, height, width)
    return image * (0.8 + 0.35 * noise(rng, height, width, 64.0))[..., None]


def crop(rng: Random, photo: UInt8[np.ndarray, "_ _ 3"], height: int, width: int) -> Image:
    """Crops a random part of `photo`, mirrored with probability one half; enlarges photos that are too small."""
    ratio = min(photo.shape[0] / height, photo.shape[1] / width) * rng.uniform(0.6, 1)
    rows, columns = max(1, int(ratio * height)), max(1, int(ratio * width))
    top, left = rng.integers(photo.shape[0] - rows + 1), rng.integers(photo.shape[1] - columns + 1)
    part = photo[top : top + rows, left : left + columns]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    part = np.ascontiguousarray(part, np.float32) / np.float32(255)
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if ratio > 1 else cv2.INTER_CUBIC)


def superellipse(power: float) -> Outline:
    """Returns the outline of a superellipse: 2 is an ellipse, 1 a rhombus, large powers a rounded rectangle."""
    radius = (np.abs(np.cos(ANGLES)) ** power + np.abs(np.sin(ANGLES)) ** power) ** (-1 / power)
    return radius / max(1.0, np.abs(radius * np.cos(ANGLES)).max())


def petals(count: int, depth: float) -> Outline:
    """Returns the outline of a flower or gear; between petals the radius is smaller by the fraction `depth`."""
    return 1 - depth * (0.5 - 0.5 * np.cos(count * ANGLES))


def outline(rng: Random) -> Outline:
    """Draws the outline of a superellipse, a flower or a blob."""
    kind = rng.integers(3)
    if kind == 0:
        return superellipse(rng.uniform(1, 8))
    if kind == 1:
        return petals(int(rng.integers(4, 12)), rng.uniform(0.15, 0.5))
    waves = np.arange(2, 7)
    phases = ANGLES[:, None] * waves + rng.uniform(0, 2 * np.pi, len(waves))
    radius = 1 + (np.cos(phases) * rng.uniform(0, 0.5, len(waves)) / waves).sum(axis=-1)
    return radius / radius.max()


def mask(height: int, width: int, radius: Outline, hole: float = 0.0) -> Float32[np.ndarray, "h w"]:
    """Renders the coverage, 0..1, of an outline that fills the rectangle, minus the outline scaled by `hole`."""
    fine, bits = 4, 4  # supersampling; fractional bits of fillPoly's corners
    half = np.array([width, height]) / 2
    outline = radius[:, None] * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1) * (half - MARGIN)
    rings = [outline, hole * outline] if hole else [outline]
    corners = [np.rint(((ring + half) * fine - 0.5) * 2**bits).astype(np.int32) for ring in rings]
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    cv2.fillPoly(canvas, corners, 255, shift=bits)  # even-odd: the second ring cuts
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
