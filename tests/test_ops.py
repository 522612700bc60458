"""Operators against stored values of PyTorch, and their properties."""

import functools
import importlib
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, ops, relative

from vfi_jax import ops as vops
from vfi_jax.errors import UsageError, UserError
from vfi_jax.losses import laplacian_loss, laplacian_pyramid
from vfi_jax.nn import Conv, ConvTranspose, DepthwiseConv, conv_cpu, pixel_shuffle
from vfi_jax.nn.conv_cpu import PRODUCT_CHANNELS
from vfi_jax.ops.pad import Padding

warping, join = (importlib.import_module(f"vfi_jax.ops.{name}") for name in ("warp", "join"))  # not the functions
RNG = np.random.default_rng(0)
warp = jax.jit(vops.warp)


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(function, inputs, seed):
    """Values, and the gradients of their inner product with `seed`."""
    out, pull = jax.vjp(function, *inputs)
    return out, pull(seed)


@pytest.mark.parametrize("case", ["warp", "warp_integer_and_border_flow", "warp_features"])
def test_warp_values_and_gradients(case):
    stored = ops("ops_rife", case)
    image, flow = stored["img"], stored["flow"]
    seed = stored.get("cotangent", np.ones_like(stored["out"]))
    out, (grad_image, grad_flow) = with_gradients(vops.warp, (image, flow), seed)
    assert relative(out, stored["out"]) < 1e-6  # float32 rounding
    if "grad_img" in stored:
        assert relative(grad_image, stored["grad_img"]) < 1e-5  # sums of many terms at the border
        # Slopes at whole pixels depend on rounding, so this also shows that the arithmetic is the reference's.
        assert relative(grad_flow, stored["grad_flow"]) < 1e-5


def test_warp_of_ifrnet():
    """Slopes at whole pixels, in the first rows of sample 0, depend on rounding there."""
    stored = ops("ops_ifrnet", "warp")
    inputs = (stored["img"], stored["flow"])
    out, (grad_image, grad_flow) = with_gradients(vops.warp, inputs, stored["cotangent"])
    assert apart(out, stored["out"]) < 1e-5
    assert relative(grad_image, stored["grad_img"]) < 1e-4
    away = np.ones((2, 20, 28, 1), bool)
    away[0, :4] = False
    assert relative(np.where(away, grad_flow, 0), np.where(away, stored["grad_flow"], 0)) < 1e-3


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.25, 2.0, 4.0, 8.0])
def test_resize_of_ifrnet(scale):
    stored = ops("ops_ifrnet", "resize")
    image = stored["x"][:, :5, :7] if scale >= 4 else stored["x"]
    assert apart(vops.resize(image, scale), stored[f"out_{scale}"]) < 5e-6  # positions there are float32


@pytest.mark.parametrize(
    ("platform", "channels", "gathers"), [("cpu", 3, 4), ("cuda", 3, 4), ("tpu", 3, 1), ("tpu", 64, 1)]
)
def test_forms_of_the_warp(platform, channels, gathers):
    image, flow = (jax.ShapeDtypeStruct((2, 16, 24, c), np.float32) for c in (channels, 2))
    text = jax.export.export(jax.jit(vops.warp), platforms=[platform])(image, flow).mlir_module()
    assert len(re.findall(r'"stablehlo.gather"', text)) == gathers


def test_forms_of_the_warp_agree():
    """Values, and gradients by sums of other orders."""
    rng = np.random.default_rng(0)
    image = rng.random((9, 13, 3), np.float32)
    row, column = rng.integers(0, 9, (7, 11)), rng.integers(0, 13, (7, 11))
    seeds = tuple(rng.random((7, 11, 3), np.float32) for _ in range(4))
    (plain, gradient), (packed, gradient_packed) = (
        with_gradients(lambda image, form=form: form(image, row, column), (image,), seeds)
        for form in (warping._neighbors, warping._packed_neighbors)
    )
    assert all(np.array_equal(a, b) for a, b in zip(plain, packed, strict=True))
    assert apart(gradient[0], gradient_packed[0]) < 1e-5


@pytest.mark.parametrize(
    ("scale", "height", "width"), [(1 / 8, 16, 40), (1 / 3, 9, 15), (1 / 2, 8, 6), (1 / 4, 10, 12)]
)
def test_warp_resized(scale, height, width):
    """As one after the other; sides that the factor does not divide too."""
    rng = np.random.default_rng(0)
    image, flow = rng.random((2, height, width, 3), np.float32), rng.normal(0, 3, (2, height, width, 2)).astype("f4")
    seed = rng.random((2, int(height * scale), int(width * scale), 3), np.float32)
    whole, expected = with_gradients(lambda *a: vops.resize(vops.warp(*a), scale), (image, flow), seed)
    sampled, gradients = with_gradients(lambda *a: vops.warp_resized(*a, scale), (image, flow), seed)
    np.testing.assert_array_equal(sampled, whole)
    for ours, wanted in zip(gradients, expected, strict=True):
        assert apart(ours, wanted) < 1e-5  # sums of other orders


@pytest.mark.parametrize("form", [vops.join, join._summed])
def test_join(form):
    parts = [RNG.normal(size=(2, 3, 4, channels)).astype(np.float32) for channels in (3, 1, 4)]
    out, pull = jax.vjp(form, *parts)
    np.testing.assert_array_equal(out, np.concatenate(parts, -1))
    for got, part in zip(pull(out), parts, strict=True):
        np.testing.assert_array_equal(got, part)


def test_join_of_dtypes():
    """Promotes as concatenation does; arrays without channels add none."""
    parts = jnp.ones((1, 2, 2), jnp.bfloat16), jnp.zeros((1, 2, 0)), jnp.full((1, 2, 1), 1.25)
    wanted = jnp.concatenate(parts, -1)
    for form in (vops.join, join._summed):
        np.testing.assert_array_equal(form(*parts), wanted, strict=True)


def test_forms_of_join():
    """Sums on CPUs only."""
    parts = [np.zeros((2, 3, 4, channels), np.float32) for channels in (3, 1)]
    texts = [jax.export.export(jax.jit(vops.join), platforms=[p])(*parts).mlir_module() for p in ("cpu", "tpu", "cuda")]
    assert ["stablehlo.concatenate" in text for text in texts] == [not join.KEEPS_BARRIERS, True, True]


def test_warp_zero_flow_is_identity():
    image = RNG.random((2, 17, 23, 3), np.float32)
    # The way through the normalized grid rounds coordinates by some 1e-6 px.
    assert apart(warp(image, np.zeros((2, 17, 23, 2), np.float32)), image) < 1e-5


def test_warp_whole_pixels_shift():
    image = RNG.random((12, 16, 3), np.float32)
    flow = np.broadcast_to(np.float32([3, -2]), (12, 16, 2))
    expected = image[np.clip(np.arange(12) - 2, 0, 11)][:, np.clip(np.arange(16) + 3, 0, 15)]
    assert apart(warp(image, flow), expected) < 1e-5


def test_warp_is_linear_in_the_image():
    a, b = RNG.random((2, 9, 11, 3), np.float32)
    flow = RNG.normal(0, 4, (9, 11, 2)).astype(np.float32)
    assert apart(warp(2 * a - b, flow), 2 * warp(a, flow) - warp(b, flow)) < 1e-5


def test_warp_commutes_with_flips():
    image = RNG.random((9, 11, 3), np.float32)
    flow = RNG.normal(0, 4, (9, 11, 2)).astype(np.float32)
    flipped = warp(image[:, ::-1], flow[:, ::-1] * np.float32([-1, 1]))[:, ::-1]
    assert apart(warp(image, flow), flipped) < 1e-5


def test_warp_keeps_dtype_and_float32_coordinates():
    image = jnp.asarray(RNG.random((4, 600, 1), np.float32), jnp.bfloat16)
    out = warp(image, jnp.zeros((4, 600, 2), jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert apart(out.astype(jnp.float32), np.asarray(image, np.float32)) < 0.01  # columns above 256 are told apart


@pytest.mark.parametrize("scale", [0.0625, 0.125, 0.25, 0.5, 2, 4, 8])
def test_resize_by_whole_factors(scale):
    stored = ops("ops_rife", "resize_bilinear")
    image, out = ("y", "out_y_scale_") if scale > 2 else ("x", "out_scale_")
    assert apart(vops.resize(stored[image], scale), stored[f"{out}{scale}"]) < 1e-6


def test_resize_to_a_size():
    stored = ops("ops_rife", "resize_to_32x32")
    padded = np.pad(stored["x"], ((0, 0), (0, 19), (0, 26), (0, 0)))
    assert apart(vops.resize_to(padded, (32, 32)), stored["out"]) < 1e-6


@pytest.mark.parametrize(("scale", "height", "width"), [(0.8, 40, 60), (1.25, 40, 60), (0.4, 25, 35), (1 / 3, 31, 44)])
def test_resize_by_other_factors(scale, height, width):
    image = RNG.random((1, height, width, 2), np.float32)
    out = np.asarray(vops.resize(image, scale))
    assert out.shape[1:3] == (int(height * scale), int(width * scale))
    for row, column in [(0, 0), (3, 5), (out.shape[1] - 1, out.shape[2] - 1)]:
        assert apart(out[0, row, column], _bilinear(image[0], row, column, scale)) < 1e-5


def _bilinear(image, row, column, scale):
    """Written out for one pixel, in float64."""
    y, x = (max((i + 0.5) / scale - 0.5, 0) for i in (row, column))
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, image.shape[0] - 1), min(x0 + 1, image.shape[1] - 1)
    top = image[y0, x0] * (1 - (x - x0)) + image[y0, x1] * (x - x0)
    bottom = image[y1, x0] * (1 - (x - x0)) + image[y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


@pytest.mark.parametrize("scale", [2, 4, 0.5, 0.25])
def test_slices_equal_the_general_path(scale):
    image = RNG.random((1, 16, 24, 2), np.float32)
    general = jax.image.resize(image, (1, int(16 * scale), int(24 * scale), 2), "linear", antialias=False)
    assert apart(vops.resize(image, scale), general) < 1e-6


def test_resize_gradient_is_the_adjoint():
    image = RNG.random((1, 8, 12, 2), np.float32)
    for scale in (2, 0.5, 1.25):
        other = RNG.random((1, int(8 * scale), int(12 * scale), 2), np.float32)
        out, (gradient,) = with_gradients(lambda x, s=scale: vops.resize(x, s), (image,), other)
        assert abs(float((out * other).sum() - (image * gradient).sum())) < 1e-3


@pytest.mark.parametrize(("kernel", "padding"), [(3, "constant"), (3, "reflect"), ((1, 5), "constant")])
def test_gradients_of_convolutions(kernel, padding):
    """Those that are made of products on CPUs, against XLA's own."""
    layer = Conv(PRODUCT_CHANNELS, kernel, padding=padding)
    x = RNG.normal(size=(2, 7, 9, PRODUCT_CHANNELS + 1)).astype(np.float32)
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    weight = RNG.normal(size=(*sides, PRODUCT_CHANNELS + 1, PRODUCT_CHANNELS)).astype(np.float32)
    bias = np.zeros(PRODUCT_CHANNELS, np.float32)
    borders = [(side // 2, side // 2) for side in sides]

    def plain(x, weight):
        x = jnp.pad(x, [(0, 0), *borders, (0, 0)], mode=padding)
        return jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    seed = RNG.normal(size=(2, 7, 9, PRODUCT_CHANNELS)).astype(np.float32)
    wanted, expected = with_gradients(plain, (x, weight), seed)
    apply = lambda x, weight: layer.apply({"params": {"weight": weight, "bias": bias}}, x)  # noqa: E731
    out, gradients = with_gradients(apply, (x, weight), seed)
    assert apart(out, wanted) < 1e-3
    for ours, theirs in zip(gradients, expected, strict=True):
        assert relative(ours, theirs) < 1e-5  # float32 sums of other orders


SHAPES = [((2, 7, 9), ((1, 1), (1, 1))), ((1, 24, 10), ((0, 0), (0, 0))), ((3, 6, 5), ((2, 2), (0, 1)))]


@pytest.mark.parametrize(
    ("shape", "borders", "together"),
    [  # 16 products, or one of all
        (*SHAPES[0], 0),
        (*SHAPES[2], 10**9),
        pytest.param(*SHAPES[0], 10**9, marks=pytest.mark.slow),
        pytest.param(*SHAPES[2], 0, marks=pytest.mark.slow),
        *(pytest.param(*SHAPES[1], together, marks=pytest.mark.slow) for together in (0, 10**9)),
    ],
)
def test_convolution_by_tiles(shape, borders, together, monkeypatch):
    """Of float32, odd sides and several bands, against float64 sums over the kernel's offsets."""
    monkeypatch.setattr(conv_cpu, "TOGETHER", together)
    monkeypatch.setattr(conv_cpu, "BAND", 4000)
    jax.clear_caches()
    x, kernel = RNG.normal(size=(*shape, 5)), RNG.normal(size=(3, 3, 5, 4))
    padded = np.pad(x, [(0, 0), *borders, (0, 0)])
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    seen = {(r, s): padded[:, r : r + height, s : s + width] for r in range(3) for s in range(3)}
    seed = RNG.normal(size=(shape[0], height, width, 4))
    wanted = sum(part @ kernel[offset] for offset, part in seen.items())
    gradient = np.reshape([np.tensordot(part, seed, ([0, 1, 2], [0, 1, 2])) for part in seen.values()], kernel.shape)
    x, kernel, seed = (jnp.asarray(array, jnp.float32) for array in (x, kernel, seed))
    assert relative(conv_cpu.convolve(x, kernel, borders), wanted) < 2e-6  # float32 rounding
    assert relative(conv_cpu.kernel_gradient(x, seed, borders), gradient) < 2e-6


@pytest.mark.parametrize("padding", ["constant", "reflect"])
def test_layers_that_compute_by_tiles(padding):
    """Values and gradients of a layer that is large enough, against XLA's own."""
    channels = conv_cpu.CHANNELS
    layer = Conv(channels, padding=padding, bias=False)
    x, seed = (jnp.asarray(RNG.normal(size=(1, 31, 30, channels)), jnp.float32) for _ in range(2))
    weight = jnp.asarray(RNG.normal(size=(3, 3, channels, channels)), jnp.float32)
    assert conv_cpu.saves_products(x, weight)

    def plain(x, weight):
        x = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode=padding)
        return jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    wanted, expected = with_gradients(plain, (x, weight), seed)
    apply = lambda x, weight: layer.apply({"params": {"weight": weight}}, x)  # noqa: E731
    out, gradients = with_gradients(apply, (x, weight), seed)
    for ours, theirs in zip((out, *gradients), (wanted, *expected), strict=True):
        assert relative(ours, theirs) < 2e-6  # float32 sums of other orders


def test_transposed_convolution_and_pixel_shuffle():
    stored = ops("ops_rife", "conv_transpose_pixelshuffle")
    params = {"weight": stored["weight"].transpose(2, 3, 0, 1), "bias": stored["bias"]}
    out = ConvTranspose(8).apply({"params": params}, stored["x"])
    assert apart(out, stored["conv_transpose"]) < 1e-5
    assert apart(pixel_shuffle(out, 2), stored["pixel_shuffle"]) < 1e-5


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 2, 6)])
def test_transposed_convolution_with_gradients(shape):
    """Against XLA's convolution of the dilated input; the second kernel is large beside its input."""
    x, weight = (jnp.asarray(RNG.normal(size=size), jnp.float32) for size in (shape, (4, 4, shape[-1], 2)))
    seed = jnp.asarray(RNG.normal(size=(shape[0], 2 * shape[1], 2 * shape[2], 2)), jnp.float32)
    assert conv_cpu.kernel_dominates(x, weight) == (shape[0] == 1)

    def dilated(x, weight):
        around = [(2, 2), (2, 2)]
        return jax.lax.conv_general_dilated(
            x, weight[::-1, ::-1], (1, 1), around, lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    apply = lambda x, weight: ConvTranspose(2).apply({"params": {"weight": weight, "bias": jnp.zeros(2)}}, x)  # noqa: E731
    (out, gradients), (wanted, expected) = (with_gradients(f, (x, weight), seed) for f in (apply, dilated))
    for ours, theirs in zip((out, *gradients), (wanted, *expected), strict=True):
        assert relative(ours, theirs) < 2e-6  # float32 sums of other orders


def test_depthwise_convolution_with_gradients():
    """Against XLA's convolution in groups."""
    x, seed = (jnp.asarray(RNG.normal(size=(2, 5, 7, 3)), jnp.float32) for _ in range(2))
    weight = jnp.asarray(RNG.normal(size=(3, 3, 1, 3)), jnp.float32)

    def grouped(x, weight):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=3)

    apply = lambda x, weight: DepthwiseConv().apply({"params": {"weight": weight, "bias": jnp.zeros(3)}}, x)  # noqa: E731
    (out, gradients), (wanted, expected) = (with_gradients(f, (x, weight), seed) for f in (apply, grouped))
    for ours, theirs in zip((out, *gradients), (wanted, *expected), strict=True):
        assert relative(ours, theirs) < 2e-6  # float32 sums of other orders


def test_laplacian_loss():
    stored = ops("ops_rife", "laplacian_loss")
    bands = jax.jit(laplacian_pyramid, static_argnums=1)(stored["a"], 5)
    assert apart(bands[0][:, ::4, ::4], stored["band0_stride4"]) < 1e-6
    assert apart(bands[2], stored["band2"]) < 1e-6
    assert apart(bands[4], stored["band4"]) < 1e-6
    total, gradient = jax.jit(jax.value_and_grad(laplacian_loss), static_argnums=2)(stored["a"], stored["b"], 5)
    assert abs(total / stored["loss"] - 1) < 1e-5
    assert apart(gradient[:, ::2, ::2], stored["grad_a_stride2"]) < 1e-7  # gradients are of order 1e-4


def test_laplacian_loss_refuses_small_images():
    with pytest.raises(UsageError, match="sides divisible by 32 and of 48 or more pixels, not 32x32"):
        laplacian_loss(np.zeros((1, 32, 32, 3), np.float32), np.zeros((1, 32, 32, 3), np.float32), 5)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("position", ["end", "center"])
def test_pad_and_crop(mode, position):
    padding = Padding(32, mode, position)
    image = RNG.random((2, 45, 70, 3), np.float32)
    padded = vops.pad(image, padding)
    assert padded.shape == (2, 64, 96, 3)
    assert (vops.crop(padded, 45, 70, padding) == image).all()
    assert vops.pad(padded, padding) is padded
    assert vops.pad(image, padding, scale=0.5).shape == (2, 64, 128, 3)
    assert vops.pad(image, padding, scale=2.0).shape == (2, 64, 96, 3)
    sparing = Padding(32, mode, position, resized=16)  # frames at the scale have sides of 16 and more
    assert [vops.pad(image, sparing, scale).shape[2] for scale in (2.0, 1.0, 0.5, 0.25)] == [96, 96, 96, 128]


def test_reflection_needs_enough_pixels():
    with pytest.raises(UserError, match="too small"):
        vops.pad(np.zeros((1, 5, 70, 3), np.float32), Padding(32, "reflect"))


def test_time_map():
    frames = np.zeros((2, 2, 4, 6, 3), np.float32)
    assert vops.time_map(0.25, frames).shape == (2, 4, 6, 1)
    per_sample = vops.time_map(np.float32([0.1, 0.9]).reshape(2, 1, 1, 1), frames)
    assert apart(per_sample[1], np.float32(0.9)) == 0
    ramp = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    assert apart(vops.time_map(ramp, frames)[1], ramp) == 0
    halves = ramp.reshape(2, 2, 3, 2).mean((1, 3))[..., None]
    assert apart(vops.time_map(ramp, frames, (2, 3))[1], halves) == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_cubic_correction_is_what_catmull_rom_adds_along_an_axis(axis):
    image, flow = RNG.random((2, 13, 13, 2), np.float32), RNG.normal(0, 3, (2, 13, 13, 2)).astype(np.float32)
    flow[..., 1 - axis] = np.rint(flow[..., 1 - axis])  # (x, y); whole pixels along the other

    @jax.jit
    def sharpened(image, flow):
        differences = vops.warp(vops.second_differences(image), flow)
        return vops.warp(image, flow) + vops.cubic_correction(differences, flow)

    ours = sharpened(image, flow)
    expected = np.empty_like(ours)
    for b, y, x in np.ndindex(2, 13, 13):
        place = np.clip([x, y] + flow[b, y, x], 0, 12)
        pixels, weights = _catmull_rom(place[axis])
        other = int(place[1 - axis])
        line = image[b, other, pixels] if axis == 0 else image[b, pixels, other]
        expected[b, y, x] = weights @ line
    assert apart(ours, expected) < 1e-5


def _catmull_rom(position, size=13):
    """Four pixels and their weights, as the spline's matrix has them."""
    whole = int(np.floor(position))
    f = position - whole
    weights = [-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, f**3 - f**2]
    return np.clip(np.arange(whole - 1, whole + 3), 0, size - 1), np.array(weights) / 2
