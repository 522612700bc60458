"""Two videos in a page: one clock, one size, and what a browser shows of it."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import browser
import clips
import numpy as np
import pytest

from vfi_jax.cli import main as cli
from vfi_jax.errors import UserError
from vfi_jax.video import Options
from vfi_jax.video.comparison import page as pages
from vfi_jax.video.comparison.pair import open_pair


def gray(step, offset=0):
    """A picture of one gray that grows with the frame's number."""
    return lambda index, size: np.full((size[1], size[0], 3), 40 + step * index + offset, np.uint8)


def clip(path, rate, frames, *, size=(64, 48), picture=None, **options):
    return clips.make_clip(
        path, frames=frames, rate=rate, size=size, codec="ffv1", pix_fmt="bgr0", picture=picture or gray(2), **options
    )


def seen(pair):
    """The gray of both at each step."""
    return [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in pair.pictures()]


def test_rates_that_differ(tmp_path):
    """At 50 steps per second each frame of 25 stands for two of them; of 24, for two or three."""
    slow, fast = clip(tmp_path / "a.mkv", 25, 5), clip(tmp_path / "b.mkv", 50, 10, picture=gray(1))
    pair = open_pair(slow, fast)
    assert pair.rate == 50
    assert seen(pair) == [(40 + 2 * (k // 2), 40 + k) for k in range(10)]
    film = clip(tmp_path / "c.mkv", 24, 4, times=[Fraction(k, 24) for k in range(4)], tick=Fraction(1, 1000))
    assert [a for a, _ in seen(open_pair(film, clip(tmp_path / "d.mkv", 60, 10)))] == [
        40 + 2 * int((k + 0.25) * 24 / 60) for k in range(10)
    ]


def test_the_shorter_one_ends_the_page(tmp_path):
    pair = open_pair(clip(tmp_path / "a.mkv", 25, 5), clip(tmp_path / "b.mkv", 25, 3))
    assert len(seen(pair)) == 3
    part = open_pair(clip(tmp_path / "c.mkv", 25, 6), clip(tmp_path / "d.mkv", 25, 6), Options(start="2f", stop="5f"))
    assert seen(part) == [(44, 44), (46, 46), (48, 48)]


@pytest.mark.parametrize(
    ("sizes", "common"),
    [(((64, 48), (32, 24)), (64, 48)), (((33, 25), (33, 25)), (32, 24)), (((2100, 20), (2100, 20)), (1920, 18))],
)
def test_sizes_that_differ(tmp_path, sizes, common):
    pair = open_pair(*(clip(tmp_path / f"{k}.mkv", 25, 1, size=size) for k, size in enumerate(sizes)))
    assert pair.size == common
    assert [image.shape for image in next(pair.pictures())] == [(common[1], common[0], 3)] * 2


def test_shapes_that_differ(tmp_path):
    oblong = clips.make_clip(tmp_path / "b.mp4", frames=2, size=(32, 48), aspect=Fraction(2))
    assert open_pair(clip(tmp_path / "a.mkv", 25, 1), oblong).size == (64, 48)
    with pytest.raises(UserError, match=r"a.mkv is 64x48, .*c.mkv is 64x64: pictures of other shapes") as error:
        open_pair(tmp_path / "a.mkv", clip(tmp_path / "c.mkv", 25, 1, size=(64, 64)))
    assert "\n" not in str(error.value)


def shell(capsys, *arguments):
    try:
        status = cli.main(["compare-video", *map(str, arguments)])
    except SystemExit as error:
        status = error.code
    return status, capsys.readouterr()


def test_the_command(tmp_path, capsys, monkeypatch):
    """The page stands alone, and a name cannot break out of it."""
    monkeypatch.chdir(tmp_path)
    first, second = clip(tmp_path / "a<!--.mkv", 25, 4), clip(tmp_path / "b.mkv", 25, 4, picture=gray(2, 3))
    status, printed = shell(capsys, first.name, second.name, "--json", "out.json")
    assert status == 0
    assert "a<!---b.html: 4 frames at 25 per second; the two differ most at frame 0, 38.6 dB" in printed.out
    assert json.loads(Path("out.json").read_text())["psnr"] == pytest.approx([38.59] * 4, abs=0.01)  # 20 log10(255 / 3)
    text = Path("a<!---b.html").read_text()
    about = text.partition('id="data">')[2].partition("</script>")[0]
    assert "<" not in about
    assert json.loads(about)["videos"][0]["name"] == first.name
    assert "{{" not in text
    assert not [word for word in ("http:", "https:", "src=", "href=", "import(") if word in text]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["a.mkv", "none.mkv", "-o", "p.html"], 1, "none.mkv: no such file"),
        (["a.mkv", "a.mkv", "-o", "p.txt"], 2, "p.txt: a page ends in .html"),
        (["a.mkv", "a.mkv", "-o", "old.html"], 1, "old.html: exists; choose another output, or replace it"),
        (["a.mkv", "a.mkv", "-o", "none/p.html"], 1, "none: no such folder"),
        (["a.mkv", "-", "-o", "p.html"], 1, "a pipe cannot be compared"),
        (["a.mkv", "a.mkv", "-o", "p.html", "--from", "9"], 1, "no frame lies behind --from"),
        (["cut.mp4", "cut.mp4", "-o", "p.html"], 3, "cut.mp4: is cut short"),
    ],
)
def test_one_line_and_no_page(tmp_path, capsys, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    clip(Path("a.mkv"), 25, 2)
    Path("old.html").write_text("old")
    whole = clips.make_clip(Path("whole.mp4"), frames=8, container_options={"movflags": "faststart"})
    Path("cut.mp4").write_bytes(whole.read_bytes()[:-400])
    code, printed = shell(capsys, *arguments)
    assert code == status
    (line,) = printed.err.splitlines()
    assert message in line
    assert Path("old.html").read_text() == "old"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "p."))]


# ------------------------------------------------------------------------------------------------------- in a browser


def spotted(index, size):
    """The gray of the frame with a brighter square in the middle of frame 3."""
    image = gray(10)(index, size)
    if index == 3:
        image[size[1] // 4 : size[1] // 2, size[0] // 4 : size[0] // 2] += 9
    return image


def pixel(page, x, y):
    """The red of the canvas at a place, as shares of its width and height."""
    return page.run(f"view.getContext('2d').getImageData({x} * view.width, {y} * view.height, 1, 1).data[0]")


def settled(page, frame):
    """Waits until the browser shows a frame."""
    for _ in range(100):
        if page.run(f"film.readyState >= 2 && !film.seeking && frame === {frame}"):
            page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            return
        time.sleep(0.05)
    raise AssertionError(f"frame {frame} is not shown")


@pytest.mark.slow
@pytest.mark.skipif(browser.program() is None, reason="no Chromium")
def test_in_a_browser(tmp_path):
    """At two widths: the slider, frames in step, the difference; no request leaves the page, nothing overflows."""
    first = clip(tmp_path / "a.mkv", 25, 8, size=(320, 180), picture=gray(10))
    second = clip(tmp_path / "b.mkv", 25, 8, size=(320, 180), picture=spotted)
    comparison = pages.write(open_pair(first, second), tmp_path / "page.html")
    assert comparison.worst == 3
    with browser.opened(tmp_path / "profile") as page:
        for width, height in [(1280, 800), (390, 844)]:
            page.size(width, height)
            page.visit(tmp_path / "page.html")
            settled(page, 0)
            in_steps(page)
            differences(page)
            sliding(page)
            assert page.run("document.scrollingElement.scrollWidth") <= width
        urls = [event["params"]["request"]["url"] for event in page.events if "requestWillBeSent" in event["method"]]
        assert {url.partition(":")[0] for url in urls} == {"file", "blob"}
        entries = [event["params"]["entry"] for event in page.events if event["method"] == "Log.entryAdded"]
        assert not [entry for entry in entries if entry["level"] == "error"]
        assert not [event for event in page.events if event["method"] == "Runtime.exceptionThrown"]


def in_steps(page):
    """Both halves show the same frame, whichever comes next."""
    for key, frame in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)]:
        page.key(key)
        settled(page, frame)
        assert [pixel(page, x, 0.9) for x in (0.1, 0.9)] == pytest.approx([40 + 10 * frame] * 2, abs=3)
    page.run("$('play').click()")
    for _ in range(40):
        if page.run("frame") not in (2, 3):
            break
        time.sleep(0.05)
    a, b = (pixel(page, x, 0.9) for x in (0.1, 0.9))
    assert abs(a - b) <= 3
    page.run("$('play').click()")
    assert page.run("film.paused")


def differences(page):
    """Equal parts are black; the square is as bright as its difference, times the gain."""
    page.run("$('worst').click()")
    settled(page, 3)
    page.key("3")
    for gain in (1, 4, 16):
        page.run(f"$('gain').value = '{gain}'; draw()")
        assert pixel(page, 0.375, 0.375) == pytest.approx(9 * gain, abs=3 * gain)
        assert pixel(page, 0.8, 0.8) <= 2 * gain
    assert "dB" in page.run("$('where').textContent")


def sliding(page):
    """Left of the border is A, without the square; right of it is B, with it."""
    page.key("1")
    box = page.run("(({left, top, width, height}) => [left, top, width, height])(view.getBoundingClientRect())")
    left, top, wide, tall = box
    for share, bright in [(0.1, True), (0.9, False), (0.5, False)]:
        page.drag((left + wide * 0.6, top + tall * 0.7), (left + wide * share, top + tall * 0.7))
        assert page.run("split") == pytest.approx(share, abs=0.02)
        assert pixel(page, 0.375, 0.375) == pytest.approx(79 if bright else 70, abs=3)
