"""Image metrics against ground truth: one number per image of a batch, over all pixels and channels.

Frames are `[*b, h, w, 3]` on the scale 0..`data_range`: 255 for uint8, 1 for floats. Rounding, where a protocol wants
it, comes before. `figures` computes several metrics of a batch on the device in one program.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped, UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.ops.gray import rgb_to_gray, sobel
from vfi_jax.types import Array

GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
GAUSSIAN /= GAUSSIAN.sum()
UNIFORM = np.full(7, 1 / 7)
CHANNELS = 3
MAX_PSNR = 100.0  # dB
SSIM_VARIANTS = ("matlab", "gaussian", "gray", "uniform")
# The figures of every benchmark; a protocol may ask for more.
USUAL = ("psnr", "ssim_matlab", "ie", "ssim_gaussian", "ssim_gray", "nie", "sharpness")


def psnr(
    frame: Shaped[np.ndarray, "*b h w 3"], truth: Shaped[np.ndarray, "*b h w 3"], data_range: float = 255.0
) -> Float64[np.ndarray, "*b"] | float:
    """PSNR: `min(10 log10(data_range^2 / mean((frame - truth)^2)), 100)` in dB, in float64.

    For uint8 the mean is exact. RIFE's scripts round predictions half to even before. Equal frames have 100 dB, as in
    the scripts that return 100 for an error of 0: the formula alone gives inf there (IFRNet, AMT, EMA-VFI) or fails
    (RIFE), and one black triplet makes the mean of a set inf. Frames of 448x256 that are not equal reach 100 dB
    only with an error of a single level in two values or fewer.
    """
    return capped_psnr(_mean((frame.astype(np.float64) - truth.astype(np.float64)) ** 2), data_range)


def capped_psnr(
    squared: Float64[np.ndarray, "*b"] | float, data_range: float = 255.0
) -> Float64[np.ndarray, "*b"] | float:
    """PSNR of mean squared errors, dB; see `psnr`. An error that is not a number stays one."""
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(data_range**2 / squared), MAX_PSNR)


def interpolation_error(
    frame: UInt8[np.ndarray, "*b h w 3"], truth: UInt8[np.ndarray, "*b h w 3"]
) -> Float64[np.ndarray, "*b"] | float:
    """IE: `mean |frame - truth|` in 8-bit levels, exact; as in RIFE's and IFRNet's Middlebury scripts.

    The Middlebury site ranks by the root mean square instead.
    """
    return _mean(np.abs(frame.astype(np.int16) - truth))


def ssim(
    frame: Shaped[Array, "b h w 3"],
    truth: Shaped[Array, "b h w 3"],
    variant: str = "matlab",
    data_range: float = 255.0,
) -> Float32[Array, "b"]:
    """Structural similarity (Z. Wang et al., "Image Quality Assessment", TIP 2004) in one of four variants.

    They differ by windows and padding and give different figures, so name the one you report:

    * "matlab": the SSIM of the tables of RIFE, IFRNet, AMT and others ("ssim_matlab", "3-D"). The image is a volume
      `[h, w, 3]`: Gaussian window 11x11x11, sigma 1.5, over channels too; edges are repeated in all three axes, so that
      every pixel counts. The published code guesses the range from the first image (255 where it has a value above 128,
      else 1); here the caller gives it, so a dark image makes no difference.
    * "gaussian": 2-D Gaussian window 11x11, sigma 1.5, where it fits; mean over channels. As scikit-image with
      `gaussian_weights=True, use_sample_covariance=False`.
    * "gray": "gaussian" of the Rec. 601 gray of both frames.
    * "uniform": 7x7 mean where it fits, sample covariance; scikit-image's default.

    Args:
      frame: the prediction.
      truth: the ground truth.
      variant: a name in `SSIM_VARIANTS`.
      data_range: 255 for frames in 0..255, 1 for frames in 0..1.

    Returns:
      One value per image, computed in float32.

    Raises:
      UserError: a side shorter than the window, where the published code would shrink the window.
      UsageError: no such variant.
    """
    if variant not in SSIM_VARIANTS:
        raise UsageError(f"no SSIM is called {variant!r}; there are: {', '.join(SSIM_VARIANTS)}")
    _check_window(frame, variant)
    return _ssim(frame, truth, data_range, variant)


def sharpness(frame: Shaped[Array, "b h w 3"], truth: Shaped[Array, "b h w 3"]) -> Float32[Array, "b"]:
    """Mean gradient magnitude of the frame over that of the truth: below 1 the frame is blurred. This project's own.

    Gradients are Sobel's (3x3) of the gray, edges reflected. A truth without gradients gives inf, or nan if the frame
    has none either.
    """
    return _gradient(frame).mean((1, 2)) / _gradient(truth).mean((1, 2))


def normalized_error(
    frame: Shaped[Array, "b h w 3"], truth: Shaped[Array, "b h w 3"], data_range: float = 255.0
) -> Float32[Array, "b"]:
    """NIE: `sqrt(mean(|frame - truth|^2 / (|grad truth|^2 + 1)))` on the scale 0..255; norms over RGB.

    Gradients are central differences.

    S. Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011, equation 2.
    """
    a, b = (image.astype(jnp.float32) * (255 / data_range) for image in (frame, truth))
    squared = sum((step**2).sum(-1) for step in jnp.gradient(b, axis=(1, 2)))
    return jnp.sqrt((((a - b) ** 2).sum(-1) / (squared + 1)).mean((1, 2)))


def figures(
    frame: Shaped[np.ndarray, "b h w 3"], truth: Shaped[np.ndarray, "b h w 3"], names: tuple[str, ...] = USUAL
) -> dict[str, Float64[np.ndarray, "b"]]:
    """Computes several metrics of a batch on the scale 0..255.

    For uint8 `psnr` and `ie` are exact: the device sums integers per row, the host adds the rows in float64.

    Args:
      frame: the predictions, rounded or not.
      truth: the ground truth, of the same dtype.
      names: any of "psnr", "ie", "nie", "sharpness", "ssim_VARIANT" with a name in `SSIM_VARIANTS`, and "psnr_luma":
        PSNR of the Y of YUV (Rec. 601, full range, unrounded), as in RIFE's scripts for the HD set.

    Returns:
      One value per image, by name.

    Raises:
      UserError: a side shorter than SSIM's window.
    """
    _check_window(frame, "matlab")
    result = {name: np.asarray(value, np.float64) for name, value in _figures(frame, truth, names).items()}
    values, pixels = np.prod(frame.shape[1:]), np.prod(frame.shape[1:3])
    for name, count in (("psnr", values), ("psnr_luma", pixels)):
        if name in names:
            result[name] = capped_psnr(result[name].sum(1) / count)
    if "ie" in names:
        result["ie"] = result["ie"].sum(1) / values
    return {name: result[name] for name in names}


@functools.partial(jax.jit, static_argnames="names")
def _figures(frame: Array, truth: Array, names: tuple[str, ...]) -> dict[str, Array]:
    """The figures; means over pixels as the sums of each row."""
    exact = frame.dtype == truth.dtype == jnp.uint8
    difference = frame.astype(jnp.int32) - truth.astype(jnp.int32) if exact else jnp.float32(frame) - truth
    table = {
        "psnr": lambda: (difference**2).sum((2, 3)),  # int32 holds rows of 11,000 pixels
        "psnr_luma": lambda: (rgb_to_gray(difference) ** 2).sum(2),
        "ie": lambda: jnp.abs(difference).sum((2, 3)),
        "nie": lambda: normalized_error(frame, truth),
        "sharpness": lambda: sharpness(frame, truth),
    } | {f"ssim_{name}": functools.partial(_ssim_map, frame, truth, 255.0, name) for name in SSIM_VARIANTS}
    return {name: table[name]() for name in names}


def _gradient(images: Array) -> Array:
    """Magnitude of the Sobel gradient of the gray, edges reflected; `[b, h, w]`."""
    return jnp.hypot(*sobel(jnp.pad(rgb_to_gray(images), ((0, 0), (1, 1), (1, 1)), mode="reflect")))


def _mean(values: np.ndarray) -> np.ndarray | float:
    return values.mean(axis=(-3, -2, -1), dtype=np.float64)


def _check_window(frame: Array, variant: str) -> None:
    window = len(UNIFORM if variant == "uniform" else GAUSSIAN)
    if min(frame.shape[-3:-1]) < window:
        raise UserError(f"frames of {frame.shape[-2]}x{frame.shape[-3]} are smaller than SSIM's window of {window}")


@functools.partial(jax.jit, static_argnames=("data_range", "variant"))
def _ssim(frame: Array, truth: Array, data_range: float, variant: str) -> Array:
    return _ssim_map(frame, truth, data_range, variant)


def _ssim_map(frame: Array, truth: Array, data_range: float, variant: str) -> Array:
    smooth = {"gaussian": _gaussian, "gray": _gaussian, "matlab": _gaussian_volume, "uniform": _uniform}[variant]
    # Sample covariance divides by n - 1.
    unbiased = UNIFORM.size**2 / (UNIFORM.size**2 - 1) if variant == "uniform" else 1.0
    if variant == "gray":
        frame, truth = (rgb_to_gray(image)[..., None] for image in (frame, truth))
    a, b = (image.astype(jnp.float32) / data_range for image in (frame, truth))
    mean_a, mean_b, square_a, square_b, product = jnp.split(smooth(jnp.concatenate([a, b, a * a, b * b, a * b])), 5)
    variances = unbiased * (square_a - mean_a**2 + square_b - mean_b**2)
    covariance = unbiased * (product - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean((1, 2, 3))


def _gaussian(images: Float[Array, "b h w c"]) -> Array:
    return _filtered(images, GAUSSIAN)


def _uniform(images: Float[Array, "b h w 3"]) -> Array:
    return _filtered(images, UNIFORM)


def _gaussian_volume(images: Float[Array, "b h w 3"]) -> Array:
    reach = len(GAUSSIAN) // 2
    # Along the channels the window with repeated edges amounts to a constant matrix.
    nearest = np.clip(np.arange(CHANNELS)[:, None] + np.arange(-reach, reach + 1), 0, CHANNELS - 1)
    mixing = (np.eye(CHANNELS)[nearest] * GAUSSIAN[:, None]).sum(1).astype(np.float32)
    mixed = jnp.einsum("bhwc,dc->bhwd", images, mixing, precision="highest")
    return _filtered(jnp.pad(mixed, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge"), GAUSSIAN)


def _filtered(images: Array, taps: np.ndarray) -> Array:
    """Filters rows, then columns, where the window fits; CPUs sum slices ten times as fast as they convolve."""
    height, width = (side - len(taps) + 1 for side in images.shape[1:3])
    rows = sum(float(tap) * images[:, i : i + height] for i, tap in enumerate(taps))
    return sum(float(tap) * rows[:, :, i : i + width] for i, tap in enumerate(taps))
