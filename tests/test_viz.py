import cv2
import numpy as np
import pytest

from vfi_jax.data import images
from vfi_jax.errors import UserError
from vfi_jax.viz import curves, sheets
from vfi_jax.viz.flow import color_wheel, flow_to_color


def constant_flow(x, y, height=4, width=5):
    return np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()


def random_image(dtype=np.uint8, height=23, width=37):
    return np.random.default_rng(0).integers(np.iinfo(dtype).max, size=(height, width, 3), endpoint=True, dtype=dtype)


def test_color_wheel_has_its_corner_colors():
    wheel = color_wheel()
    # first color of each leg in the published color code: red, yellow, green, cyan, blue, magenta
    corners = wheel[np.cumsum([0, 15, 6, 4, 11, 13])]
    expected = [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]
    np.testing.assert_array_equal(corners, expected)
    assert wheel[1].tolist() == [255, 17, 0]
    assert wheel[54].tolist() == [255, 0, 43]


def test_flow_colors():
    assert (flow_to_color(constant_flow(0, 0)) == 255).all()
    assert flow_to_color(constant_flow(3, 0))[0, 0].tolist() == [255, 0, 0]
    # a quarter turn is a quarter of the 54 steps: between colors 13 (255, 221, 0) and 14 (255, 238, 0)
    assert flow_to_color(constant_flow(0, 2))[0, 0].tolist() == [255, 229, 0]
    left = flow_to_color(constant_flow(-1, 0))[0, 0]
    assert left.tolist() == color_wheel()[27].tolist()  # half way round
    half = flow_to_color(constant_flow(3, 0), max_flow=6.0)[0, 0]
    assert half.tolist() == [255, 127, 127]
    beyond = flow_to_color(constant_flow(9, 0), max_flow=6.0)[0, 0]
    assert beyond.tolist() == [191, 0, 0]


def test_flow_colors_do_not_depend_on_scale():
    flow = np.random.default_rng(0).normal(size=(9, 11, 2)).astype(np.float32)
    np.testing.assert_array_equal(flow_to_color(flow), flow_to_color(4 * flow))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e9])
def test_unknown_flow_is_black_and_leaves_the_rest(bad):
    flow = constant_flow(3, 0)
    flow[1, 2, 1] = bad
    colors = flow_to_color(flow)
    assert colors[1, 2].tolist() == [0, 0, 0]
    assert colors[0, 0].tolist() == [255, 0, 0]


def test_error_map():
    image = random_image()
    still = sheets.error_map(image, image)
    assert still.shape == image.shape
    assert still.max() < 8  # the dark end of the map
    gray = np.full((4, 4, 3), 60, np.uint8)
    levels = [int(sheets.error_map(gray, gray + np.uint8(step)).sum()) for step in (0, 8, 16, 32, 63)]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0]
    full = sheets.error_map(gray, gray + np.uint8(64))
    np.testing.assert_array_equal(full, sheets.error_map(gray, gray + np.uint8(190)))
    as_float = gray.astype(np.float32) / 255
    np.testing.assert_array_equal(sheets.error_map(as_float, gray + np.uint8(64)), full)


def test_sheet_geometry():
    large, small = np.full((40, 60, 3), 200, np.uint8), np.full((20, 30, 3), 100, np.uint8)
    page = sheets.sheet([[(large, "large"), (small, "small")], [(small, "")]])
    down, across = 40 + sheets.LABEL_HEIGHT, 60
    assert page.shape == (2 * down + sheets.GAP, 2 * across + sheets.GAP, 3)
    np.testing.assert_array_equal(page[sheets.LABEL_HEIGHT : down, :across], large)
    top, left = sheets.LABEL_HEIGHT + 10, across + sheets.GAP + 15
    np.testing.assert_array_equal(page[top : top + 20, left : left + 30], small)
    assert page[: sheets.LABEL_HEIGHT, :across].max() > 150  # the label
    assert (page[down + sheets.GAP :, across:] == sheets.PAPER).all()  # no fourth image


def test_sheet_needs_an_image():
    with pytest.raises(ValueError, match="at least one"):
        sheets.sheet([[]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(tmp_path, dtype):
    image = random_image(dtype)
    sheets.save_png(tmp_path / "a.png", image)
    again = images.load_image(tmp_path / "a.png")
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_load_jpeg_gray_and_alpha(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.jpg"), red)
    assert np.abs(images.load_image(tmp_path / "red.jpg").astype(int) - [255, 0, 0]).max() < 8
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((5, 6), 77, np.uint8))
    assert (images.load_image(tmp_path / "gray.png") == np.full((5, 6, 3), 77)).all()
    cv2.imwrite(str(tmp_path / "alpha.png"), np.concatenate([red, np.full((16, 16, 1), 9, np.uint8)], axis=-1))
    assert (images.load_image(tmp_path / "alpha.png") == [255, 0, 0]).all()


def write_bad_files(folder):
    png, jpeg = (cv2.imencode(kind, random_image())[1].tobytes() for kind in (".png", ".jpg"))
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 255
    cases = {
        "half.png": png[: len(png) // 2],
        "end.png": png[:-4],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "end.jpg": jpeg[:-2],
        "head.jpg": jpeg[:20],
        "flipped.png": bytes(flipped),
        "empty.png": b"",
        "text.png": b"not an image",
    }
    for name, data in cases.items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    return [*cases, "folder.png", "missing.png"]


def test_bad_files_are_one_line(tmp_path):
    for name in write_bad_files(tmp_path):
        with pytest.raises(UserError) as caught:
            images.load_image(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_saving_where_it_cannot_be(tmp_path):
    with pytest.raises(UserError, match="none"):
        sheets.save_png(tmp_path / "none" / "a.png", random_image())
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match="taken"):
        sheets.save_png(tmp_path / "taken.png", random_image())
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_failed_saving_keeps_the_old_file(tmp_path, monkeypatch):
    old = random_image()
    sheets.save_png(tmp_path / "a.png", old)

    def full_disk(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(UserError, match="No space left"):
        sheets.save_png(tmp_path / "a.png", old // 2)
    monkeypatch.undo()
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png"), old)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_curves_are_smoothed_and_their_ticks_readable():
    rng = np.random.default_rng(0)
    rows = [{"step": step, "loss": 0.03 + 0.01 * rng.random(), "rate": 1e-4} for step in range(0, 200000, 500)]
    rows += [{"step": step, "validation_psnr": 34.8221 + step * 1e-10} for step in range(0, 200000, 10000)]
    figure = curves.draw_curves(rows)
    figure.canvas.draw()
    loss, score, rate = figure.axes
    for axis in (axes_axis for axes in figure.axes for axes_axis in (axes.xaxis, axes.yaxis)):
        assert axis.get_offset_text().get_text() == ""
    assert all(label.get_text().startswith("34.82") for label in score.get_yticklabels())
    assert "0.0001" in [label.get_text() for label in rate.get_yticklabels()]
    raw, smoothed = (line.get_ydata() for line in loss.lines)
    assert np.std(smoothed[50:]) < 0.3 * np.std(raw)


def test_smoothing():
    assert curves.smooth([2.0] * 100) == pytest.approx([2.0] * 100)
    assert curves.smooth([1.0, 2.0, 4.0]) == [1.0, 2.0, 4.0]  # a short curve stays
    steep = curves.smooth([0.0] * 79 + [1.0])  # over two points: (1 + 0 / 2 + ...) / (1 + 1 / 2 + ...)
    assert steep[-1] == pytest.approx(0.5)
