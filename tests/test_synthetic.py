import cv2
import numpy as np
import pytest

from vfi_jax.data.synthetic import scenes, textures
from vfi_jax.data.synthetic.scenes import Layer, Motion, Scene, clip, demo_scene, random_scene


def cubic_sample(image, flow):
    """`image[y + flow_y, x + flow_x]` by Catmull-Rom interpolation with edges repeated.

    Bilinear sampling would measure its own blur: at half a pixel it halves what is near Nyquist.
    """
    height, width = flow.shape[:2]
    x, y = np.arange(width)[None] + flow[..., 0], np.arange(height)[:, None] + flow[..., 1]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros_like(image)
    for i, down in enumerate(catmull_rom(y - row), -1):
        for j, right in enumerate(catmull_rom(x - column), -1):
            pixels = image[np.clip(row + i, 0, height - 1), np.clip(column + j, 0, width - 1)]
            total += (down * right)[..., None] * pixels
    return total


def catmull_rom(t):
    return (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        0.5 * t**3 - 0.5 * t**2,
    )


def interior_of_both(scene, time_from, time_to, pixels=3):
    """Returns pixels that are visible in both frames and beyond the cubic's reach of edges, where surfaces mix."""
    interiors = []
    for time in (time_from, time_to):
        top = scene.surfaces(time).astype(np.uint8)
        size = np.ones((2 * pixels + 1,) * 2, np.uint8)
        interiors.append((cv2.erode(top, size) == cv2.dilate(top, size)).astype(np.float32))
    there = cubic_sample(interiors[1][..., None], scene.flow(time_from, time_to))[..., 0]
    inside = cv2.erode(scene.visible(time_from, time_to).astype(np.uint8), size, borderValue=0)
    return (inside > 0) & (interiors[0] == 1) & (there > 0.999)


def psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


def disk(radius, motion, color):
    image = np.broadcast_to(np.array(color, np.float32), (4 * radius, 4 * radius, 3)).copy()
    return scenes.cutout_layer(image, textures.superellipse(2), motion)


def plain(value=0.5, motion=None, height=64, width=96):
    return Layer(np.full((2 * height, 2 * width, 3), value, np.float32), motion or Motion((width / 2, height / 2)))


def noise_ground(motion, side=400):
    rng = np.random.default_rng(0)
    return scenes.opaque_layer(textures.clouds(rng, side, side), motion)


def smooth_photo():
    noise = textures.noise(np.random.default_rng(0), 240, 320, 80.0, finest=10.0)
    return np.rint(255 * textures.ramp(noise, textures.rgb(0x102030, 0xD04020, 0x30C080, 0xF0F0C0))).astype(np.uint8)


@pytest.mark.parametrize(
    ("photos", "least"),
    [
        ([smooth_photo()], 60),  # the texture is resampled almost without loss: the motion itself is tested
        ([], 43),  # what resampling hard edges with a cubic leaves
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_warping_by_the_flow_gives_the_frame(seed, photos, least):
    scene = random_scene(seed, 96, 128, speed=10.0, photos=photos)
    for times in ((0.0, 1.0), (0.5, 0.0), (0.25, 1.5)):
        seen = interior_of_both(scene, *times)
        assert seen.mean() > 0.3
        assert psnr(cubic_sample(scene.frame(times[1]), scene.flow(*times))[seen], scene.frame(times[0])[seen]) > least


def test_a_wrong_flow_would_be_noticed():
    scene = random_scene(3, 96, 128, speed=10.0, photos=[smooth_photo()])
    seen = interior_of_both(scene, 0, 1)
    warped = cubic_sample(scene.frame(1), scene.flow(0, 1) + np.float32(0.1))
    assert psnr(warped[seen], scene.frame(0)[seen]) < 52


def test_whole_pixel_translation_is_a_shifted_image():
    scene = Scene(64, 96, noise_ground(Motion((48, 32), velocity=(3, -2))))
    a, b = scene.frame(0), scene.frame(2)
    np.testing.assert_allclose(b[:-4, 6:], a[4:, :-6], atol=1e-4)  # float32 coordinates of the textures
    np.testing.assert_allclose(scene.flow(0, 2), np.broadcast_to([6.0, -4.0], (64, 96, 2)), atol=1e-5)


def test_frame_is_exact_in_time():
    """d frame / dt = -grad frame . velocity: motion by thousandths of a pixel shows."""
    velocity = np.array([1.5, 0.7])
    scene = Scene(64, 96, noise_ground(Motion((48, 32), velocity=tuple(velocity))))
    step = 0.02
    change = (scene.frame(step) - scene.frame(-step)) / (2 * step)
    # the gradient by moving the texture itself by as much along each axis
    rates = []
    for axis in np.eye(2):
        moved = [Scene(64, 96, noise_ground(Motion(tuple([48, 32] + s * step * axis)))).frame(0) for s in (1, -1)]
        rates.append((moved[0] - moved[1]) / (2 * step))
    expected = velocity[0] * rates[0] + velocity[1] * rates[1]
    assert np.abs(change - expected).mean() < 0.05 * np.abs(expected).mean()


def test_flow_is_the_motion_of_points():
    motion = Motion((50, 30), (4, 1), (1, -2), angle=0.3, spin=0.4, growth=0.2, tilt=(0.004, 0.002), wobble=0.5)
    scene = Scene(64, 96, noise_ground(motion))
    np.testing.assert_allclose(scene.flow(0.3, 0.3), 0, atol=1e-5)  # rounding of the inverse
    # rate of change of the flow against its own small steps, at the point where a pixel's surface went
    flow = scene.flow(0.2, 1.0)
    y, x = 20, 40
    back = motion.matrix(0.2) @ np.linalg.inv(motion.matrix(1.0)) @ [x + flow[y, x, 0], y + flow[y, x, 1], 1]
    np.testing.assert_allclose(back[:2] / back[2], [x, y], atol=1e-4)


def test_flow_there_and_back():
    scene = random_scene(1, 96, 128, speed=9.0)
    there, back = scene.flow(0, 1), scene.flow(1, 0)
    there_and_back = there + cubic_sample(back, there)
    np.testing.assert_allclose(there_and_back[interior_of_both(scene, 0, 1)], 0, atol=1e-3)


def test_turning_growing_and_bending():
    matrix = Motion((10, 20), spin=np.pi / 2, growth=np.log(2)).matrix(1)
    np.testing.assert_allclose(matrix @ [1, 0, 1], [10, 22, 1], atol=1e-12)  # right turns to down, twice as far
    np.testing.assert_allclose(Motion((0, 0), (1, 0), (0, 2)).matrix(3)[:2, 2], [3, 9])


def test_later_layers_hide_earlier_ones():
    red, blue = ([1, 0, 0], [0, 0, 1])
    first, second = disk(20, Motion((30, 32)), red), disk(12, Motion((48, 32), velocity=(-10, 0)), blue)
    scene = Scene(64, 96, plain(), (first, second))
    assert scene.frame(0)[32, 44].argmax() == 2  # both cover this pixel; the later one is seen
    assert Scene(64, 96, plain(), (second, first)).frame(0)[32, 44].argmax() == 0
    visible = scene.visible(0, 1)
    assert not visible[32, 30]  # the blue disk moves over the middle of the red one
    assert visible[32, 48]
    assert visible[5, 90]
    assert scene.visible(1, 0)[32, 38]
    assert not scene.visible(1, 0)[32, 55]  # background that the blue disk has left
    np.testing.assert_allclose(scene.flow(0, 1)[32, 48], [-10, 0], atol=1e-5)
    np.testing.assert_allclose(scene.flow(0, 1)[32, 30], 0, atol=1e-5)


def test_holes_are_seen_through():
    image = np.ones((120, 120, 3), np.float32)
    ring = scenes.cutout_layer(image, textures.superellipse(2), Motion((48, 32), velocity=(2, 0)), hole=0.5)
    scene = Scene(64, 96, plain(0.25), (ring,))
    np.testing.assert_allclose(scene.frame(0)[32, 48], 0.25, atol=1e-5)
    np.testing.assert_allclose(scene.flow(0, 1)[32, [48, 27], 0], [0, 2], atol=1e-5)


def test_what_leaves_the_frame_is_not_visible():
    scene = Scene(64, 96, plain(motion=Motion((48, 32), velocity=(10, 0))))
    visible = scene.visible(0, 1)
    assert visible[:, :86].all()
    assert not visible[:, 86:].any()


def test_edges_are_soft_and_keep_their_area():
    """A white disk on black: its light is its area, wherever between pixels it lies."""
    sums = []
    for shift in (0.0, 0.21, 0.5, 0.77):
        layer = Layer(
            np.repeat(textures.mask(80, 80, textures.superellipse(2))[..., None], 4, -1), Motion((48 + shift, 32))
        )
        frame = Scene(64, 96, plain(0.0), (layer,)).frame(0)
        assert frame[32].max() > 0.99
        sums.append(float(frame[..., 0].sum()))
    area = np.pi * ((80 - 2 * textures.MARGIN) / 4) ** 2
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    assert sums[0] == pytest.approx(area, rel=0.01)  # fillPoly counts the outline itself


def test_seeds():
    a, b, c = (random_scene(seed, 48, 64).frame(0.3) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).mean() > 0.02
    assert a.dtype == np.float32
    assert a.min() >= 0
    assert a.max() <= 1


def test_speed_is_that_of_the_fastest_layer():
    scene = random_scene(5, 64, 96, speed=20.0, layers=3)
    planes = (scene.background, *scene.layers)
    steps = [np.hypot(*(plane.motion.matrix(1) - plane.motion.matrix(0))[:2, 2]) for plane in planes]
    assert max(steps) == pytest.approx(20)
    assert len(steps) == 4
    still = random_scene(5, 64, 96, speed=0.0)
    np.testing.assert_allclose(still.flow(0, 1), 0, atol=1e-5)


def test_photos_are_used():
    photo = np.zeros((70, 90, 3), np.uint8)
    photo[..., 1] = 200
    frame = random_scene(2, 48, 64, layers=2, photos=[photo]).frame(0)
    assert frame[..., [0, 2]].max() == 0
    assert frame[..., 1].min() > 0.2


def test_no_empty_regions():
    scene = demo_scene()
    for time in (0, 8, 16, 24):
        frame = scene.frame(time)
        assert (frame.max(axis=-1) > 10 / 255).mean() > 0.999  # neither edges nor seams are black
    for time in (-20.0, 60.0):  # the background covers the frame even far outside the demo's times
        assert demo_scene(64, 112).frame(time).max(axis=-1).min() > 0.01


def test_demo_is_hard_for_averaging_and_easy_with_the_flow():
    scene = demo_scene()
    frame0, frame1, middle = (scene.frame(time) for time in (10, 11, 10.5))
    assert 20 < psnr((frame0 + frame1) / 2, middle) < 25
    flows = [scene.flow(10.5, time) for time in (10, 11)]
    weights = [0.01 + scene.visible(10.5, time)[..., None] for time in (10, 11)]
    warped = [cubic_sample(frame, flow) for frame, flow in zip((frame0, frame1), flows, strict=True)]
    merged = (weights[0] * warped[0] + weights[1] * warped[1]) / (weights[0] + weights[1])
    assert psnr(merged, middle) > 33
    card = np.hypot(*scene.flow(10, 11)[201, 198])
    assert card == pytest.approx(14, abs=2)


def test_clip():
    scene = random_scene(0, 32, 48, layers=1)
    inputs, middles = clip(scene, 3)
    assert inputs.shape == (3, 32, 48, 3)
    assert middles.shape == (2, 32, 48, 3)
    np.testing.assert_allclose(inputs[2] / 255, scene.frame(2), atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(middles[1] / 255, scene.frame(1.5), atol=0.5 / 255 + 1e-6)
