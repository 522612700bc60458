"""Scenes with exactly known motion: textured planar layers over a background, each moving by a smooth homography.

A scene is a function of continuous time: `frame` renders any instant, and `flow` gives the motion of the visible
surfaces between any two. Layers are sampled at inverse-mapped coordinates from textures of twice the frame's
resolution, on a grid of two by two samples per pixel. A frame resampled from another one by the exact flow agrees with
the rendered frame to 45 dB (hard-edged patterns) to 65 dB (smooth ones), and nothing shimmers, as long as no layer
shrinks to less than half its size.

The seed determines everything random. Frames of one seed agree between machines up to the rounding of OpenCV's float
arithmetic; lettering depends on the font of the OpenCV release.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8

from vfi_jax.data.synthetic import textures
from vfi_jax.data.synthetic.textures import Image, Outline, Random, rgb, sectors

DENSITY = 2  # texels and samples per pixel along each axis
BLUR = 1.2  # standard deviation of the low-pass of textures and masks, texels; leaves 0.1 at a frame's Nyquist
MAX_EXPOSURES = 15  # instants that are averaged for a blurred frame
DEMO_FRAMES, DEMO_SEED = 25, 5

Pair = tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """Path of a layer over time; lengths in pixels, angles in radians, clockwise on the screen.

    Attributes:
      position: center of the layer at time 0, (x, y).
      velocity: pixels per unit time.
      acceleration: pixels per unit time squared.
      angle: at time 0.
      spin: radians per unit time.
      scale: at time 0; 1 is the layer's nominal size.
      growth: change of the logarithm of the scale per unit time.
      tilt: perspective, (x, y): `point`, in pixels from the center, is `1 + tilt @ point` times as far away as it.
      wobble: rotation of the tilt, radians per unit time; its length stays, so that the layer never tips over.
    """

    position: Pair
    velocity: Pair = (0.0, 0.0)
    acceleration: Pair = (0.0, 0.0)
    angle: float = 0.0
    spin: float = 0.0
    scale: float = 1.0
    growth: float = 0.0
    tilt: Pair = (0.0, 0.0)
    wobble: float = 0.0

    def matrix(self, time: float) -> Float64[np.ndarray, "3 3"]:
        """Returns the homography from pixels on the layer, relative to its center, to pixels of the frame at `time`."""
        place = np.add(self.position, np.multiply(self.velocity, time)) + np.multiply(self.acceleration, time**2 / 2)
        pose = np.eye(3)
        pose[:2, :2] = self.scale * np.exp(self.growth * time) * _rotation(self.angle + self.spin * time)
        pose[:2, 2] = place
        perspective = np.eye(3)
        perspective[2, :2] = _rotation(self.wobble * time) @ self.tilt
        return pose @ perspective


def _rotation(angle: float) -> Float64[np.ndarray, "2 2"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _project(matrix: Float64[np.ndarray, "3 3"], points: Float64[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


@dataclass(frozen=True, eq=False)
class Layer:
    """A moving textured plane.

    Attributes:
      texture: float32 in 0..1, two texels per pixel. `[h, w, 4]`: RGB times alpha, then alpha; transparent beyond the
        edges. `[h, w, 3]`: opaque, mirrored beyond the edges.
      motion: of the texture's center.
    """

    texture: Float32[np.ndarray, "h w c"]
    motion: Motion

    def to_texture(self, time: float) -> Float64[np.ndarray, "3 3"]:
        """Returns the homography from pixels of the frame at `time` to texels."""
        height, width = self.texture.shape[:2]
        texels = np.array([[DENSITY, 0, (width - 1) / 2], [0, DENSITY, (height - 1) / 2], [0, 0, 1.0]])
        return texels @ np.linalg.inv(self.motion.matrix(time))

    def box(self, time: float, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns the samples of a `height` x `width` frame that the layer may touch: left, top, right, bottom."""
        h, w = self.texture.shape[:2]
        corners = np.array([[0, 0], [w, 0], [0, h], [w, h]], float) - 0.5
        corners = (_project(np.linalg.inv(self.to_texture(time)), corners) + 0.5) * DENSITY
        size = np.array([width, height]) * DENSITY
        low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, size).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def render(self, time: float, box: tuple[int, int, int, int]) -> Float32[np.ndarray, "h w c"]:
        """Renders the layer at the samples in `box`; sample i lies at pixel (i + 0.5) / 2 - 0.5."""
        left, top, right, bottom = box
        step, shift = 1 / DENSITY, 0.5 / DENSITY - 0.5
        pixels = np.array([[step, 0, left * step + shift], [0, step, top * step + shift], [0, 0, 1]])
        border = cv2.BORDER_REFLECT if self.texture.shape[2] == 3 else cv2.BORDER_CONSTANT
        matrix = self.to_texture(time) @ pixels
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(self.texture, matrix, (right - left, bottom - top), flags=flags, borderMode=border)


@dataclass(frozen=True, eq=False)
class Scene:
    """A background and the layers in front of it; later layers hide earlier ones.

    Attributes:
      height: pixels.
      width: pixels.
      background: opaque.
      layers: back to front.
      shutter: exposure time around a frame's time, which blurs motion.
      light: growth of the logarithms of R, G and B per unit time; colors are unchanged at time 0.5.
    """

    height: int
    width: int
    background: Layer
    layers: tuple[Layer, ...] = ()
    shutter: float = 0.0
    light: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def frame(self, time: float) -> Float32[np.ndarray, "h w 3"]:
        """Renders the frame at any real `time`, RGB in 0..1."""
        fastest = max(np.hypot(*layer.motion.velocity) for layer in (self.background, *self.layers))
        exposures = 1 + min(MAX_EXPOSURES, math.ceil(self.shutter * fastest / 2))
        instants = time + self.shutter * ((np.arange(exposures) + 0.5) / exposures - 0.5)
        exposed = sum(self._instant(float(instant)) for instant in instants) / np.float32(exposures)
        return np.clip(exposed * np.exp(np.multiply(self.light, time - 0.5)).astype(np.float32), 0, 1)

    def _instant(self, time: float) -> Float32[np.ndarray, "h w 3"]:
        canvas = self.background.render(time, (0, 0, self.width * DENSITY, self.height * DENSITY))
        for layer in self.layers:
            left, top, right, bottom = box = layer.box(time, self.height, self.width)
            if left < right and top < bottom:
                patch, region = layer.render(time, box), canvas[top:bottom, left:right]
                region *= 1 - patch[..., 3:]
                region += patch[..., :3]
        return cv2.resize(canvas, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def flow(self, time_from: float, time_to: float) -> Float32[np.ndarray, "h w 2"]:
        """Returns the motion of the surface visible at each pixel from `time_from` to `time_to`, (x, y) in pixels.

        It is defined also where the surface is hidden at `time_to`. Backward convention: `warp(frame(time_to), flow)`
        is `frame(time_from)` where `visible(time_from, time_to)`.
        """
        return self._trace(time_from, time_to)[1].astype(np.float32)

    def visible(self, time_from: float, time_to: float) -> Bool[np.ndarray, "h w"]:
        """Returns True at pixels whose surface at `time_from` is visible at `time_to`: in the frame and not covered."""
        top, flow = self._trace(time_from, time_to)
        target = self._pixels() + flow
        inside = ((target >= 0) & (target <= (self.width - 1, self.height - 1))).all(axis=-1)
        return inside & (self._top(target, time_to) == top)

    def surfaces(self, time: float) -> Int[np.ndarray, "h w"]:
        """Returns the index of the surface visible at each pixel: 0 is the background, 1 the first layer."""
        return self._top(self._pixels(), time)

    def regions(self, time: float) -> UInt8[np.ndarray, "h2 w2"]:
        """Returns the exact region map: 1 is the background, 2 the first layer, at every second pixel."""
        return (self.surfaces(time)[::2, ::2] + 1).astype(np.uint8)

    def _pixels(self) -> Float64[np.ndarray, "h w 2"]:
        return np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), axis=-1).astype(np.float64)

    def _top(self, points: Float64[np.ndarray, "h w 2"], time: float) -> Int[np.ndarray, "h w"]:
        """Returns the index of the surface visible at each point: 0 the background, then layers; edges at alpha 0.5."""
        top = np.zeros(points.shape[:2], int)
        for index, layer in enumerate(self.layers, 1):
            texels = _project(layer.to_texture(time), points).astype(np.float32)
            alpha = cv2.remap(np.ascontiguousarray(layer.texture[..., 3]), texels, None, cv2.INTER_LINEAR)
            top[alpha > 0.5] = index
        return top

    def _trace(self, time_from: float, time_to: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the surface visible at each pixel at `time_from`, and its motion from there, float64."""
        pixels = self._pixels()
        top = self.surfaces(time_from)
        flow = np.zeros_like(pixels)
        for index, layer in enumerate((self.background, *self.layers)):
            here = top == index
            matrix = layer.motion.matrix(time_to) @ np.linalg.inv(layer.motion.matrix(time_from))
            flow[here] = _project(matrix, pixels[here]) - pixels[here]
        return top, flow


def opaque_layer(image: Image, motion: Motion) -> Layer:
    """Makes an image a background."""
    return Layer(np.clip(cv2.GaussianBlur(image, (0, 0), BLUR), 0, 1).astype(np.float32), motion)


def cutout_layer(image: Image, outline: Outline, motion: Motion, hole: float = 0.0) -> Layer:
    """Cuts an image to the shape `textures.mask(outline, hole)`, with a bevel lit from the upper left."""
    mask = textures.mask(*image.shape[:2], outline, hole)
    sigma = min(image.shape[:2]) / 20
    relief = cv2.GaussianBlur(mask, (0, 0), sigma)
    down, right = np.gradient(relief)
    light = 0.6 + 0.45 * relief + 0.5 * sigma * (down + right)
    color = np.clip(image * light[..., None], 0, 1)
    texture = np.concatenate([color * mask[..., None], mask[..., None]], axis=-1).astype(np.float32)
    return Layer(cv2.GaussianBlur(texture, (0, 0), BLUR), motion)


def _random_motion(rng: Random, middle: Pair, pace: float, reach: float, tilt: float) -> Motion:
    """Draws a motion through `middle` at time 0.5.

    Args:
      rng: source of the draws.
      middle: position at time 0.5.
      pace: pixels that the center moves from time 0 to 1.
      reach: distance from the center at which rotation and growth add less than `pace`, pixels.
      tilt: bound of the perspective: the relative change of distance at `reach`.
    """
    direction, lean = rng.uniform(0, 2 * np.pi, 2)
    acceleration = 0.3 * pace * rng.uniform(-1, 1, 2)
    velocity = pace * np.array([np.cos(direction), np.sin(direction)]) - acceleration / 2
    spin, growth, wobble = rng.uniform(-1, 1, 3) * np.minimum(np.array([0.3, 0.2, 0.3]) * pace / reach, 0.2)
    tilt *= rng.random() / reach
    return Motion(
        position=_pair(middle - velocity / 2 - acceleration / 8),
        velocity=_pair(velocity),
        acceleration=_pair(acceleration),
        angle=-spin / 2,
        spin=spin,
        growth=growth,
        tilt=(tilt * np.cos(lean), tilt * np.sin(lean)),
        wobble=wobble,
    )


def _pair(vector: Float64[np.ndarray, "2"]) -> Pair:
    return float(vector[0]), float(vector[1])


def random_scene(
    seed: int,
    height: int,
    width: int,
    *,
    layers: int = 4,
    speed: float = 8.0,
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]] = (),
    shutter: float = 0.0,
    light: float = 0.0,
) -> Scene:
    """Draws a scene for times around 0 to 1.

    Args:
      seed: of the PCG64 generator; equal seeds and arguments give equal scenes.
      height: pixels.
      width: pixels.
      layers: number of layers in front of the background.
      speed: pixels that the center of the fastest layer moves from time 0 to 1; the others draw 0.2 to 1 of it, the
        background 0.1 to 0.6; rotation, growth and perspective add less than that to the motion of a layer's edge.
      photos: RGB images from which the surfaces are cut; without them patterns are generated.
      shutter: see `Scene`.
      light: bound of the scene's `light`.
    """
    rng = np.random.Generator(np.random.PCG64(seed))

    def paint(rows: int, columns: int) -> Image:
        if not len(photos):
            return textures.texture(rng, rows, columns)
        return textures.crop(rng, photos[rng.integers(len(photos))], rows, columns)

    side, center = min(height, width), ((width - 1) / 2, (height - 1) / 2)
    motion = _random_motion(rng, center, speed * rng.uniform(0.1, 0.6), max(height, width) / 2, 0.1)
    margin = 0.2 * max(height, width) + 2 * np.hypot(*motion.velocity)
    background = opaque_layer(paint(int(DENSITY * (height + margin)), int(DENSITY * (width + margin))), motion)
    pace = speed * rng.uniform(0.2, 1, layers)
    pace[:1] = speed
    cutouts = []
    for layer_pace in rng.permutation(pace):
        reach = side * np.exp(rng.uniform(np.log(0.12), np.log(0.4)))
        rows, columns = np.maximum(16, DENSITY * 2 * reach * np.exp(rng.uniform(-0.4, 0, 2))).astype(int).tolist()
        middle = (width * rng.uniform(0.1, 0.9), height * rng.uniform(0.1, 0.9))
        hole = rng.uniform(0.3, 0.7) if rng.random() < 0.2 else 0.0
        cutouts.append(
            cutout_layer(
                paint(rows, columns), textures.outline(rng), _random_motion(rng, middle, layer_pace, reach, 0.4), hole
            )
        )
    rates = rng.uniform(-light, light) + rng.uniform(-light, light, 3) / 4 if light else np.zeros(3)
    return Scene(height, width, background, tuple(cutouts), shutter, tuple(rates.tolist()))


def demo_scene(height: int = 256, width: int = 448) -> Scene:
    """Builds the scene of `vfi-jax demo`, for times 0 to 24: four objects above a coast that glides by.

    A wheel turns, a balloon grows, a ring wobbles, and a card crosses the frame at 14 pixels per unit time. Lengths
    are for 448x256 and scale with the frame.
    """
    rng = np.random.Generator(np.random.PCG64(DEMO_SEED))
    unit, last = min(height / 256, width / 448), DEMO_FRAMES - 1

    def wheel(size: float, spokes: int, rings: int, *codes: int) -> Image:
        texels = round(DENSITY * size * unit)
        return sectors(rgb(*codes), texels, texels, spokes, rings)

    def path(start: Pair, end: Pair, **turns: Any) -> Motion:
        """Moves from `start` at time 0 to `end` in the last frame."""
        scale = np.array([width / 448, height / 256])
        return Motion(_pair(start * scale), _pair(np.subtract(end, start) * scale / last), **turns)

    card = np.broadcast_to(rgb(0x1D3557), (round(88 * unit), round(248 * unit), 3)).copy()
    textures.write(card, "vfi-jax", (30 * unit, 64 * unit), 56 * unit, rgb(0xFFD166)[0])
    coast = textures.terrain(rng, *(round(DENSITY * side) for side in (height * 1.6, width * 1.6)))
    lean = 0.004 / unit
    return Scene(
        height,
        width,
        opaque_layer(coast, path((284, 158), (164, 98), angle=-0.06, spin=0.005)),
        (
            cutout_layer(
                wheel(128, 20, 5, 0xF94144, 0xF9C74F, 0x277DA1, 0xFDF0D5),
                textures.petals(20, 0.12),
                path((112, 104), (150, 132), spin=0.13),
            ),
            cutout_layer(
                wheel(112, 16, 1, 0xE63946, 0xFFF1E6, 0xF4A261, 0xFFF1E6),
                textures.superellipse(2),
                path((352, 60), (316, 118), scale=0.7, growth=0.03, spin=-0.01),
            ),
            cutout_layer(
                wheel(104, 24, 6, 0x2A9D8F, 0xE9F5DB, 0x264653),
                textures.superellipse(2),
                path((268, 190), (196, 60), tilt=(lean, 0.0), wobble=0.26),
                hole=0.55,
            ),
            cutout_layer(
                card,
                textures.superellipse(9),
                path((50, 196), (386, 206), tilt=(0.0, lean / 2), wobble=-0.3, angle=-0.12, spin=0.01),
            ),
        ),
    )


def clip(scene: Scene, frames: int) -> tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "m h w 3"]]:
    """Renders frames at times 0, 1, ..., `frames` - 1 and the true middle frames between them, rounded to 8 bits."""
    inputs, middles = (
        [scene.frame(k + shift) for k in range(count)] for shift, count in ((0, frames), (0.5, frames - 1))
    )
    return _to_uint8(inputs), _to_uint8(middles)


def _to_uint8(frames: Sequence[Float32[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "n h w 3"]:
    return np.rint(255 * np.stack(frames)).astype(np.uint8)
