"""The `Interpolator`: frames of any size and type in, frames between them out.

For example:

    interpolate = Interpolator("rife_m")
    middle = interpolate(frame0, frame1, t=0.5)
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vfi_jax import weights
from vfi_jax.errors import NotFiniteError, UsageError, UserError
from vfi_jax.inference import extra, still
from vfi_jax.inference.arrays import host_array
from vfi_jax.inference.exported import Exported
from vfi_jax.inference.wrappers import SMALLEST_INTERVAL, Recursive, with_dtype, with_reference
from vfi_jax.models import registry
from vfi_jax.models.spec import REFERENCE
from vfi_jax.nn import precision as precisions
from vfi_jax.ops import crop, pad
from vfi_jax.ops.channels import order_of
from vfi_jax.ops.pad import pad_amounts
from vfi_jax.types import MIDPOINT, Array, Model
from vfi_jax.weights.load import load


class Interpolator:
    """Frames between frames of any size: RGB in, RGB out, and further channels that move with it.

    Pads as the published scripts do, reorders channels for the weights, clips, rounds, crops. Compiles one program per
    padded shape, shared by all sizes that are padded to it.
    """

    def __init__(
        self,
        model: Model | nn.Module | str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        precision: str | None = precisions.DEFAULT,
        extra: int = 0,
        copy_still: bool = False,
    ) -> None:
        """Takes a model.

        Args:
          model: a module or a wrapper around one; or a name (in MODELS, or `package.module:NAME`), whose weights
            are then those shipped or installed; None: the shipped default.
          variables: of the module.
          precision: a name in `vfi_jax.nn.precision`; None keeps the model's dtype and leaves products to the backend.
          extra: number of channels behind RGB in all frames, in the same range, such as opacity (of premultiplied
            colors), depth or masks; see `inference.extra` for how they move.
          copy_still: whether tiles that do not change between the frames are copied instead of computed, see
            `inference.still`; calls with maps of time, regions or further inputs compute all.

        Raises:
          UserError: no weights.
          UsageError: no such model or precision, or a module without variables.
        """
        if model is None:
            model = weights.DEFAULT
        if isinstance(model, str):
            registry.check_kind(model, "interpolation")
            model, variables = load(model)
        network: Any = model
        if variables is None:
            raise UsageError("a model needs its variables: Interpolator(model, variables)")
        exported = isinstance(network, Exported)
        if not exported:
            registry.check_kind(network.variant, "interpolation")
            network = with_reference(network)
        self._precision = precisions.named(precision) if precision else precisions.AS_IS
        self.model = network if self._precision.dtype is None else with_dtype(network, self._precision.dtype)
        self.spec = network.spec if exported else registry.spec_of(network.variant)
        self.variables = jax.device_put(variables)
        self.channels = 3 + extra
        self.copies_still = copy_still

    @property
    def sees_regions(self) -> bool:
        """Whether the network has a prior of regions."""
        return bool(getattr(self.model, "region_channels", 0))

    def identity(self) -> dict[str, str]:
        """Returns what predictions depend on beside the frames: the model, a hash of its weights, the precision."""
        weights = hashlib.sha256()
        for leaf in jax.tree.leaves(self.variables):
            weights.update(np.ascontiguousarray(leaf).data)
        return {"model": repr(self.model), "weights": weights.hexdigest(), "precision": repr(self._precision)}

    def with_extra(self, extra: int) -> Interpolator:
        """Returns the interpolator of the same model for frames with another number of extra channels."""
        other = copy.copy(self)
        other.channels = 3 + extra
        return other

    def __call__(self, *frames: Any, t: Any = MIDPOINT, regions: Any = None, **inputs: Any) -> np.ndarray:
        """Returns the frame at time t between the given ones.

        Args:
          *frames: as many as the model takes, `[h, w, 3]` or `[b, h, w, 3]`, RGB, with `extra` more channels; uint8,
            uint16, or float in 0..1; arrays of NumPy, JAX, PyTorch or of any other library that has `__dlpack__`.
          t: a number, `[b]` or `[b, 1, 1, 1]`, 0 < t < 1; or a map of the frames' size with one channel, in 0..1: of
            time, or of the distance that each pixel has covered (0: where frame 0 has it, 1: where frame 1 has it).
          regions: label maps of the frames at half their sides, rounded up, uint8 `[n, h / 2, w / 2]`, with the batch
            before it where frames have one; 0 where no region is known; None: none. For networks with
            `region_channels`.
          **inputs: further arguments of the model's `apply`, as it takes them (a batch, on the padded size, RGB).

        Returns:
          A frame with the shape and dtype of one input; integers are rounded half to even. Other libraries take it
          without a copy by their `from_dlpack`.

        Raises:
          UserError: number, sizes, dtypes or values of the frames or maps are wrong, or these weights do not support t.
          UsageError: maps for a network that sees none.
          NotFiniteError: the prediction holds NaN or infinity.
        """
        stack = stack_frames(frames, self.spec.num_frames, self.channels)
        size, single = stack.shape[-3:-1], stack.ndim == 4
        batch = stack[None] if single else stack
        times, inputs = self._times(t, batch.shape[0], size), {**inputs, **self._regions(regions, batch)}
        if self.copies_still and not inputs and times.shape[1:3] == (1, 1):
            parts = zip(batch, times[:, 0, 0, 0].tolist(), strict=True)
            frame = np.stack([frame for frames, time in parts for frame in self._copied(frames, [time])])
        else:
            frame = self._crop(self._predict(self._pad(batch), times, inputs), batch.dtype, size)
        return frame[0] if single else frame

    def between(self, frames: Sequence[Any], times: Sequence[float], *, regions: Any = None) -> Iterator[np.ndarray]:
        """Yields the frames at several times between one set of frames, in order; see `__call__`.

        A midpoint model halves the interval repeatedly and predicts each frame once: its times are multiples of
        1 / 2^n; where it takes four frames, 1 / 2 only, as the frames around the halves are not known.

        Args:
          frames: as many as the model takes, `[h, w, 3]`, with `extra` more channels; of any library, as there.
          times: increasing.
          regions: as in `__call__`; the frames that a midpoint model predicts on its way have none.

        Yields:
          Frames with the shape and dtype of one input.

        Raises:
          NotFiniteError: a prediction holds NaN or infinity.
        """
        if not times:
            return
        stack = stack_frames(frames, self.spec.num_frames, self.channels)
        inputs = self._regions(regions, stack[None])
        if self.copies_still and not inputs:
            yield from self._copied(stack, times)
        else:
            yield from self._computed(stack, times, inputs)

    def _copied(self, stack: np.ndarray, times: Sequence[float]) -> Iterator[np.ndarray]:
        """The frames at several times, what is still copied."""
        return still.composed(stack, lambda part: self._computed(part, times, {}), len(times))

    def _computed(self, stack: np.ndarray, times: Sequence[float], inputs: Mapping[str, Any]) -> Iterator[np.ndarray]:
        """Yields the frames at several times, computed everywhere."""
        batch = stack[None]
        size, padded = batch.shape[-3:-1], self._pad(batch)
        if self.model.any_time:
            predictions = (self._predict(padded, self._times(t, 1, size), inputs) for t in times)
        else:
            predictions = self._halve(padded, 0.0, 1.0, times, inputs)
        for frame in predictions:
            yield self._crop(frame, batch.dtype, size)[0]

    def flow(self, *frames: Any, t: float = MIDPOINT) -> np.ndarray:
        """Returns the final flow from t to frame 0, `[h, w, 2]` float32 in pixels.

        Raises:
          UserError, NotFiniteError: see `__call__`.
          UsageError: the model has no backward flow.
        """
        batch = stack_frames(frames, self.spec.num_frames, self.channels)[None]
        height, width = batch.shape[-3:-1]
        padded, times = self._pad(batch[..., :3]), self._times(t, 1, (height, width))
        with self._precision.scope():
            flow = np.asarray(intermediate_flows(self.model, self.variables, padded, times)[..., :2])
        if not np.isfinite(flow).all():
            raise not_finite(self.model.variant)
        return np.asarray(crop(flow, height, width, self.spec.padding, getattr(self.model, "scale", 1.0)))[0]

    def times(self, factor: int) -> list[float]:
        """Returns the times of the new frames between two frames that multiply their number by `factor`.

        Raises:
          UsageError: a factor that is no power of two, or above 2 where the model takes four frames, for a model that
            supports t = 0.5 only.
        """
        if not self.model.any_time and factor > 2 < self.spec.num_frames:
            raise UsageError(
                f"{self.model.variant} takes four frames, at t = 0.5 only: the factor must be 2, not {factor}"
            )
        if not self.model.any_time and factor & (factor - 1):
            raise UsageError(
                f"{self.model.variant} supports t = 0.5 only: the factor must be a power of two, not {factor}"
            )
        return [i / factor for i in range(1, factor)]

    def _halve(
        self, padded: Array, start: float, stop: float, times: Sequence[float], inputs: Mapping[str, Array]
    ) -> Iterator[Array]:
        if not times:
            return
        middle = (start + stop) / 2
        if stop - start < SMALLEST_INTERVAL:
            raise UsageError(f"{self.model.variant} supports t = 0.5 only: t = {times[0]:g} is not k / 2^n")
        if padded.shape[1] != self.spec.num_frames:
            raise UsageError(f"{self.model.variant} takes four frames, at t = 0.5 only: t = {times[0]:g} is not 0.5")
        frame = self._predict(padded, np.full((1, 1, 1, 1), MIDPOINT, np.float32), inputs)
        known = [{name: jnp.asarray(maps).at[:, index].set(0) for name, maps in inputs.items()} for index in (1, 0)]
        before, after = [t for t in times if t < middle], [t for t in times if t > middle]
        yield from self._halve(jnp.stack([padded[:, 0], frame], 1), start, middle, before, known[0])
        if middle in times:
            yield frame
        yield from self._halve(jnp.stack([frame, padded[:, -1]], 1), middle, stop, after, known[1])

    def _predict(self, padded: Array, t: Array, inputs: Mapping[str, Array]) -> Array:
        with self._precision.scope():
            return predict(self.model, self.variables, padded, t, inputs)

    def _regions(self, regions: Any, batch: np.ndarray) -> dict[str, Array]:
        """Checks region maps, and pads them as the frames are, with 0."""
        if regions is None:
            return {}
        if not self.sees_regions:
            raise UsageError(f"{self.model.variant} sees no regions with these weights: see docs/regions.md")
        maps, (height, width) = np.asarray(regions), batch.shape[-3:-1]
        wanted = (*batch.shape[:2], -(-height // 2), -(-width // 2))
        if maps.dtype != np.uint8 or maps.shape not in (wanted, wanted[1:] if wanted[0] == 1 else wanted):
            raise UserError(f"region maps are {maps.dtype} {list(maps.shape)}: uint8 {list(wanted)} is needed")
        amounts = pad_amounts(height, width, self.spec.padding, getattr(self.model, "scale", 1.0))
        ends = [
            (before // 2, -(-(before + side + after) // 2) - before // 2 - half)
            for (before, after), side, half in zip(amounts, (height, width), wanted[2:], strict=True)
        ]
        return {"regions": jnp.pad(maps.reshape(wanted), [(0, 0), (0, 0), *ends])}

    def _pad(self, frames: np.ndarray) -> Array:
        return as_float(pad(frames, self.spec.padding, getattr(self.model, "scale", 1.0)))

    def _crop(self, frame: Array, dtype: np.dtype, size: tuple[int, int]) -> np.ndarray:
        converted, finite = _as_type(frame, dtype)
        padded = np.asarray(converted)
        if not finite:
            raise not_finite(self.model.variant)
        # A copy: JAX's memory is for reading only, which DLPack cannot say to every library.
        return np.array(crop(padded, *size, self.spec.padding, getattr(self.model, "scale", 1.0)), dtype)

    def _times(self, t: Any, batch: int, size: tuple[int, int]) -> np.ndarray:
        """Checks t and returns it as `[b, 1, 1, 1]` or as a padded map."""
        times = np.asarray(t, np.float32)
        is_map = times.size not in (1, batch)
        if is_map and not isinstance(self.model, Recursive):
            if not ((times >= 0) & (times <= 1)).all():
                raise UserError(f"a map of t must lie within 0..1, not {_shown(times)}")
        elif not ((times > 0) & (times < 1)).all():
            raise UserError(f"t must lie between 0 and 1 (exclusive), not {_shown(times)}")
        if isinstance(self.model, Recursive):
            if (times / SMALLEST_INTERVAL % 1).any():
                raise UserError(f"a recursive model takes t = k / 2^n, not {_shown(times)}")
        elif not self.model.any_time and (times != MIDPOINT).any():
            raise UserError(f"{self.model.variant}'s weights support t = 0.5 only, not {_shown(times)}")
        if not is_map:
            return np.broadcast_to(times.reshape(-1, 1, 1, 1), (batch, 1, 1, 1))
        if times.shape[-3:] != (*size, 1):
            raise UserError(f"t has shape {times.shape}: it is a number, one per frame, or a map {(batch, *size, 1)}")
        full = np.broadcast_to(times, (batch, *size, 1))
        edges = dataclasses.replace(self.spec.padding, mode="edge")
        return pad(full, edges, getattr(self.model, "scale", 1.0))


@functools.partial(jax.jit, static_argnums=0)
def predict(
    model: Model,
    variables: Mapping[str, Any],
    frames: Float[Array, "b n h w c"],
    t: Array,
    inputs: Mapping[str, Array],
) -> Float[Array, "b h w c"]:
    """Returns a model's clipped RGB frame at t, float32, from RGB frames in 0..1 with legal sides, jitted.

    Further channels follow it, see `inference.extra`. Infinity becomes NaN, which clipping would make a color.
    """
    images, more = frames[..., :3], frames[..., 3:]
    given = {name: value[..., order_of(model)] if name == REFERENCE[0] else value for name, value in inputs.items()}
    output = model.apply(variables, images[..., order_of(model)], t, **given)
    frame = output.frame[..., order_of(model)].astype(jnp.float32)
    if more.shape[-1]:
        frame = jnp.concatenate([frame, extra.moved(model, variables, output, more, t)], -1)
    return jnp.where(jnp.isfinite(frame), jnp.clip(frame, 0, 1), jnp.nan)


@functools.partial(jax.jit, static_argnums=0)
def intermediate_flows(
    model: Model, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: Array
) -> Float[Array, "b h w 4"]:
    """Returns a model's final flows from t to frame 0 and to frame 1, for RGB frames in 0..1 with legal sides, jitted.

    Raises:
      UsageError: the model has no backward flow.
    """
    flows = model.apply(variables, frames[..., order_of(model)], t).flows
    if not flows:
        raise UsageError(f"{model.variant} gives no flows from time t to the frames")
    return flows[-1]


@jax.jit
def as_float(frames: Array) -> Array:
    """Converts frames of any dtype to float32 in 0..1."""
    if jnp.issubdtype(frames.dtype, jnp.floating):
        return frames.astype(jnp.float32)
    return frames.astype(jnp.float32) / jnp.iinfo(frames.dtype).max


@functools.partial(jax.jit, static_argnums=1)
def _as_type(frame: Array, dtype: np.dtype) -> tuple[Array, Array]:
    """The frame as integers, or as it is for floats, and whether all of it is finite."""
    finite = jnp.isfinite(frame).all()
    if np.issubdtype(dtype, np.floating):
        return frame, finite  # NumPy casts: float64 is not a type of the device
    return jnp.round(frame * np.iinfo(dtype).max).astype(dtype), finite


def not_finite(name: str) -> NotFiniteError:
    """Returns the error for a model whose prediction holds NaN or infinity."""
    return NotFiniteError(
        f"{name} predicts NaN or infinity for these frames: are its weights damaged, or the precision too low for them?"
    )


def stack_frames(frames: Sequence[Any], count: int, channels: int) -> np.ndarray:
    """Checks frames and stacks them.

    Args:
      frames: `[h, w, c]` or `[b, h, w, c]` each.
      count: how many there must be.
      channels: how many channels they must have: 3 for RGB, and those of `Interpolator(extra=...)`.

    Returns:
      `[n, h, w, c]` or `[b, n, h, w, c]`, dtype of the frames.

    Raises:
      UserError: another number, or frames whose sizes, dtypes or values differ or are not supported.
    """
    if len(frames) != count:
        raise UserError(f"this model takes {count} frames, not {len(frames)}")
    arrays = [host_array(frame) for frame in frames]
    shapes, dtypes = {array.shape for array in arrays}, {array.dtype for array in arrays}
    if len(shapes) > 1 or len(dtypes) > 1:
        raise UserError(f"frames differ: {_listed(shapes)}, {_listed(dtypes)}; all need one size and dtype")
    shape, dtype = arrays[0].shape, arrays[0].dtype
    if len(shape) not in (3, 4) or shape[-1] != channels or 0 in shape:
        kind = "RGB" if channels == 3 else f"RGB and {channels - 3} more"
        hint = f"; Interpolator(extra={shape[-1] - 3}) takes these" if len(shape) in (3, 4) and shape[-1] > 3 else ""
        raise UserError(
            f"frames have shape {shape}: [h, w, {channels}] or [b, h, w, {channels}], {kind}, is needed{hint}"
        )
    if dtype not in (np.uint8, np.uint16) and not np.issubdtype(dtype, np.floating):
        raise UserError(f"frames are {dtype}: uint8, uint16 or float in 0..1 is needed")
    stacked = np.stack(arrays, axis=-4)
    if np.issubdtype(dtype, np.floating) and not (np.abs(stacked) < 2).all():
        raise UserError(f"float frames are in 0..1; these reach {_shown(stacked)}: divide by 255, or pass uint8")
    return stacked


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(str(value) for value in values))


def _shown(values: np.ndarray) -> str:
    return f"{values.flat[0]:g}" if values.size == 1 else f"{values.min():g}..{values.max():g}"
