"""Metrics against scikit-image, the published scripts' numbers, and cases computed by hand."""

import cv2
import jax
import numpy as np
import pytest
from parity import ops
from skimage.color import rgb2yuv
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vfi_jax import metrics
from vfi_jax.errors import UsageError, UserError
from vfi_jax.metrics import interpolation_error, psnr

RNG = np.random.default_rng(0)


def ssim(name, frame, truth, data_range=255.0):
    return np.asarray(metrics.ssim(frame, truth, name, data_range))


@pytest.fixture(scope="module")
def pair():
    """Two images of uint8, one smooth and dark in places, and the other a noisy version of it."""
    y, x = np.mgrid[:40, :56] / 8
    truth = np.stack([127 + 100 * np.sin(x + phase) * np.cos(y) for phase in range(3)], -1)
    noisy = truth + RNG.normal(0, 12, truth.shape) * (x[..., None] > 3)
    return np.uint8([np.clip(noisy, 0, 255), np.clip(truth + 5, 0, 255)]), np.uint8([truth, truth])


def test_psnr_of_scikit_image(pair):
    ours = psnr(*pair)
    assert ours.shape == (2,)
    assert ours == pytest.approx([peak_signal_noise_ratio(t, f, data_range=255) for f, t in zip(*pair, strict=True)])
    frames = [np.float32(images / 255) for images in pair]
    assert psnr(*frames, data_range=1.0) == pytest.approx(ours, abs=1e-5)  # float32 frames


def test_psnr_by_hand():
    black = np.zeros((4, 5, 3), np.uint8)
    one_off = black.copy()
    one_off[2, 3, 1] = 255
    assert psnr(one_off, black) == pytest.approx(10 * np.log10(4 * 5 * 3))
    assert psnr(black, black) == metrics.MAX_PSNR == 100
    assert psnr(black, np.full_like(black, 255)) == 0  # no wrap-around of bytes


def test_scores_of_the_published_scripts():
    """RIFE's: the float frame is rounded to 8 bit, and compared with the 8-bit truth."""
    stored = ops("ops_rife", "metrics")
    frame, truth = np.rint(stored["pred"][0] * 255).astype(np.uint8), stored["gt_uint8"]
    assert psnr(frame, truth) == pytest.approx(stored["vimeo_psnr"], abs=1e-8)
    assert psnr(frame, truth) == pytest.approx(stored["ucf_psnr"], abs=1e-6)  # theirs in float32
    assert interpolation_error(frame, truth) == pytest.approx(stored["middlebury_ie"], abs=1e-8)
    assert ssim("matlab", frame[None], truth[None])[0] == pytest.approx(
        stored["vimeo_ssim"], abs=1e-5
    )  # float32 on both sides
    unrounded = psnr(stored["pred"][0], np.float32(truth / 255), data_range=1.0)
    assert unrounded == pytest.approx(stored["val_psnr_unrounded"], abs=1e-6)


def test_scores_of_ifrnet():
    stored = ops("ops_ifrnet", "metrics")
    a, b = stored["a"], stored["b"]
    assert psnr(a[0], b[0], data_range=1.0) == pytest.approx(stored["psnr"], abs=1e-5)
    assert ssim("matlab", a, b, 1.0)[0] == pytest.approx(stored["ssim3d"], abs=1e-5)
    bytes_a, bytes_b = (np.rint(image * 255).astype(np.uint8) for image in (a[0], b[0]))
    assert interpolation_error(bytes_a, bytes_b) == pytest.approx(stored["ie"], abs=1e-5)


def test_ssim_matlab():
    stored = ops("ops_rife", "ssim")
    for first, second in ("ab", "ac", "aa"):
        ours = ssim("matlab", stored[first], stored[second], 1.0)
        assert ours[0] == pytest.approx(stored[f"ssim_matlab_{first}{second}"], abs=1e-5)
    assert ssim("matlab", stored["s1"], stored["s2"], 1.0)[0] == pytest.approx(stored["ssim_matlab_s1s2"], abs=1e-5)
    scaled = ssim("matlab", stored["a"] * 255, stored["c"] * 255, 255.0)
    assert scaled[0] == pytest.approx(stored["ssim_matlab_ac_255"], abs=1e-5)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("gaussian", {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5}),
        ("uniform", {}),
    ],
)
def test_ssim_of_scikit_image(pair, variant, options):
    wanted = [
        structural_similarity(t, f, data_range=255, channel_axis=-1, **options) for f, t in zip(*pair, strict=True)
    ]
    assert ssim(variant, *pair) == pytest.approx(wanted, abs=1e-5)  # ours is float32
    assert ssim(variant, *pair) != pytest.approx([value + 2e-4 for value in wanted], abs=1e-5)


@pytest.mark.parametrize("name", metrics.SSIM_VARIANTS)
def test_ssim_is_a_similarity(pair, name):
    frames, truth = pair
    values = ssim(name, frames, truth)
    assert ssim(name, truth, truth) == pytest.approx(1, abs=1e-6)
    assert ssim(name, truth, frames) == pytest.approx(values, abs=1e-6)
    assert (values < [0.95, 1.0]).all()
    assert ssim(name, frames[::-1], truth[::-1])[::-1] == pytest.approx(values, abs=1e-6)  # images do not mix
    with pytest.raises(UserError, match="smaller than SSIM's window"):
        ssim(name, frames[:, :6], truth[:, :6])


def test_an_unknown_ssim(pair):
    with pytest.raises(UsageError, match="no SSIM is called 'grey'; there are: matlab, gaussian, gray, uniform"):
        ssim("grey", *pair)


def test_ssim_variants_differ(pair):
    """By more than any tolerance here, so that none stands in for another."""
    values = [float(ssim(name, *pair)[0]) for name in metrics.SSIM_VARIANTS]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 1e-3


def test_scores_of_cain():
    """Quantized frames; theirs adds 1e-8 to the mean square."""
    stored = ops("ops_cain", "metrics")
    frame, truth = (np.rint(np.clip(255 * stored[name], 0, 255)).astype(np.uint8) for name in ("pred", "gt"))
    assert np.array_equal(frame, stored["quantized_pred"])
    assert psnr(frame, truth)[0] == pytest.approx(float(stored["psnr"]), abs=1e-3)
    assert ssim("matlab", frame, truth)[0] == pytest.approx(float(stored["ssim_matlab_255"]), abs=1e-5)


def test_scores_of_dbvi():
    """Float frames, neither clipped nor rounded."""
    stored = ops("ops_dbvi", "metrics")
    assert psnr(stored["pred"], stored["gt"], 1.0) == pytest.approx(stored["psnr_each"], abs=1e-4)
    assert ssim("matlab", stored["pred"], stored["gt"], 1.0) == pytest.approx(stored["ssim_each"], abs=1e-5)


def test_figures_are_those_of_the_functions(pair):
    """PSNR and IE of uint8 are exact; the others are the same code."""
    names = (*metrics.USUAL, "ssim_uniform", "psnr_luma")
    found = metrics.figures(*pair, names)
    assert tuple(found) == names
    np.testing.assert_array_equal(found["ie"], interpolation_error(*pair))
    np.testing.assert_allclose(found["psnr"], psnr(*pair), rtol=1e-14)
    for name in metrics.SSIM_VARIANTS:
        assert found[f"ssim_{name}"] == pytest.approx(ssim(name, *pair), abs=1e-6)
    sums = ("psnr", "psnr_luma", "ie")  # in float32; the others convert both dtypes alike
    floats = metrics.figures(*(np.float32(images) for images in pair), sums)
    for name in sums:
        assert floats[name] == pytest.approx(found[name], rel=1e-4), name
    assert metrics.figures(pair[1], pair[1], ("psnr",))["psnr"] == pytest.approx([100, 100])
    with pytest.raises(UserError, match="smaller than SSIM's window"):
        metrics.figures(pair[0][:, :6], pair[1][:, :6])


def test_large_frames_do_not_overflow():
    """The sum of 255^2 over 2,160 rows of 4,096 pixels is far beyond 32 bits."""
    black = np.zeros((1, 540, 4096, 3), np.uint8)
    found = metrics.figures(black, black + 255, ("psnr", "ie"))
    assert (found["psnr"], found["ie"]) == (pytest.approx(0), 255)


def test_sharpness_of_opencv(pair):
    def gradient(image):
        gray = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
        return np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)).mean()

    wanted = [gradient(frame) / gradient(truth) for frame, truth in zip(*pair, strict=True)]
    sharpness = jax.jit(metrics.sharpness)
    assert np.asarray(sharpness(*pair)) == pytest.approx(wanted, rel=1e-5)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in pair[1]])
    assert (np.asarray(sharpness(blurred, pair[1])) < 0.9).all()


def test_ssim_of_the_gray_of_scikit_image(pair):
    grays = [[cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY) for image in images] for images in pair]
    options = {"data_range": 255, "gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5}
    wanted = [structural_similarity(t, f, **options) for f, t in zip(*grays, strict=True)]
    assert ssim("gray", *pair) == pytest.approx(wanted, abs=1e-5)


def test_normalized_error_by_the_formula(pair):
    wanted = []
    for frame, truth in zip(*(np.float64(images) for images in pair), strict=True):
        down, across = np.gradient(truth, axis=(0, 1))
        squared = ((frame - truth) ** 2).sum(-1) / ((down**2 + across**2).sum(-1) + 1)
        wanted.append(np.sqrt(squared.mean()))
    assert np.asarray(jax.jit(metrics.normalized_error)(*pair)) == pytest.approx(wanted, rel=1e-5)
    flat = np.zeros((1, 16, 16, 3), np.uint8)
    assert np.asarray(metrics.normalized_error(flat + 2, flat)) == pytest.approx([12**0.5])


def test_luma_of_scikit_image(pair):
    wanted = [
        peak_signal_noise_ratio(rgb2yuv(t / 255)[..., 0], rgb2yuv(f / 255)[..., 0], data_range=1)
        for f, t in zip(*pair, strict=True)
    ]
    assert metrics.figures(*pair, ("psnr_luma",))["psnr_luma"] == pytest.approx(wanted, abs=1e-4)


def test_psnr_has_a_limit():
    """100 dB for equal frames, alone and in a batch; values below are the formula's; an error of nan stays one."""
    black = np.zeros((2, 256, 448, 3), np.uint8)
    other = black.copy()
    other[1, 0, 0] = 1  # three values of 344064
    expected = [100, 10 * np.log10(255**2 * 256 * 448)]
    assert expected[1] < 100
    np.testing.assert_allclose(psnr(other, black), expected)
    np.testing.assert_allclose(metrics.figures(other, black, ("psnr", "psnr_luma"))["psnr"], expected)
    assert psnr(np.full((16, 16, 3), np.nan), np.zeros((16, 16, 3))) != psnr(black[0], black[0])
    assert np.isnan(psnr(np.full((16, 16, 3), np.nan), np.zeros((16, 16, 3))))
