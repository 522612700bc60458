"""Protocols over small trees in the published layouts: which frames, which times, what the model sees."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.color import yuv2rgb

from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, scoring, yuv
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import psnr
from vfi_jax.metrics.image import MAX_PSNR
from vfi_jax.types import Output
from vfi_jax.viz.sheets import save_png

RNG = np.random.default_rng(0)


def write(root, *names, size=(12, 16)):
    """Gray pictures whose level is their number."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((*size, 3), int("".join(filter(str.isdigit, path.stem)) or 0) % 256, np.uint8)
        if path.suffix == ".png":
            save_png(path, image)
        else:
            cv2.imwrite(str(path), image)


def numbers(sample):
    """Of the frames before, first, truth, second, after."""
    frames = (sample.before, sample.first, sample.truth, sample.second, sample.after)
    return [frame and int("".join(filter(str.isdigit, frame.stem))[-5:]) for frame in frames]


def test_every_protocol_is_described():
    for benchmark in BENCHMARKS.values():
        settings = benchmark.settings()
        assert settings["name"] == benchmark.name
        assert settings["about"]
        assert settings["version"] >= 1
        assert benchmark.headline in benchmark.figures
    abouts = [dataclasses.replace(b, name="").settings() for b in BENCHMARKS.values()]
    assert all(abouts.count(about) == 1 for about in abouts)


@pytest.mark.parametrize("level", ["easy", "medium", "hard", "extreme"])
@pytest.mark.parametrize("lists", ["", "eval_modes/"])
def test_snu_film(tmp_path, level, lists):
    """Lists name pictures from wherever their author had them."""
    gap = {"easy": 2, "medium": 4, "hard": 8, "extreme": 16}[level]
    root = tmp_path / "SNU-FILM"
    write(root, *(f"test/YouTube_test/0001/{i:05d}.png" for i in range(3 * gap + 1)))
    line = "data/SNU-FILM/test/YouTube_test/0001/{:05d}.png"
    triplets = [(0, gap // 2, gap), (gap, gap + gap // 2, 2 * gap)]
    (root / lists).mkdir(exist_ok=True)
    (root / lists / f"test-{level}.txt").write_text(
        "".join(" ".join(line.format(i) for i in triplet) + "\n" for triplet in triplets)
    )
    found = BENCHMARKS[f"snu_film_{level}"].find(tmp_path)
    assert numbers(found[0]) == [None, 0, gap // 2, gap, 2 * gap]
    assert numbers(found[1]) == [0, gap, gap + gap // 2, 2 * gap, 3 * gap]
    assert all(sample.truth.exists() for sample in found)
    assert BENCHMARKS[f"snu_film_{level}_dbvi"].find(tmp_path) == found[1:]
    if level != "easy":
        every = BENCHMARKS[f"snu_film_{gap}x"].find(tmp_path)
        assert len(every) == 2 * (gap - 1)
        assert [sample.t for sample in every[: gap - 1]] == [k / gap for k in range(1, gap)]
        assert [numbers(sample)[1:4] for sample in every[gap - 1 : gap + 1]] == [
            [gap, gap + 1, 2 * gap],
            [gap, gap + 2, 2 * gap],
        ]
        assert len({sample.name for sample in every}) == len(every)


def test_snu_film_without_lists(tmp_path):
    (tmp_path / "SNU-FILM").mkdir()
    with pytest.raises(UserError, match=r"test-easy\.txt is missing"):
        BENCHMARKS["snu_film_easy"].find(tmp_path)


def test_septuplets_at_sixths(tmp_path):
    write(tmp_path / "vimeo_septuplet", *(f"sequences/00001/0001/im{i}.png" for i in range(1, 8)))
    (tmp_path / "vimeo_septuplet/sep_testlist.txt").write_text("00001/0001\n")
    found = BENCHMARKS["vimeo_septuplet_6x"].find(tmp_path)
    assert [numbers(sample)[1:4] for sample in found] == [[1, i, 7] for i in range(2, 7)]
    assert [sample.t for sample in found] == pytest.approx([k / 6 for k in range(1, 6)])


def test_xiph(tmp_path):
    (tmp_path / "xiph").mkdir()
    found = BENCHMARKS["xiph_2k"].find(tmp_path)
    assert len(found) == 8 * 49
    assert [path.name for path in (found[0].first, found[0].truth, found[0].second)] == [
        f"BoxingPractice-{i}.png" for i in ("001", "002", "003")
    ]
    assert found[-1].truth.name == "Tango-098.png"
    large = RNG.integers(0, 256, (2160, 4096, 3), np.uint8)
    save_png(tmp_path / "a.png", large)
    small = BENCHMARKS["xiph_2k"].load(tmp_path / "a.png")
    np.testing.assert_array_equal(small, cv2.resize(large, (2048, 1080), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(BENCHMARKS["xiph_4k"].load(tmp_path / "a.png"), large[540:-540, 1024:-1024])
    floats = BENCHMARKS["xtest_2k"].load(tmp_path / "a.png")
    assert floats.dtype == np.float32
    assert np.abs(255 * floats - small).max() <= 0.51  # one is rounded


def test_xtest(tmp_path):
    write(tmp_path / "X4K1000FPS/test", *(f"Type{k}/TEST0{k}_f{k}/{i:04d}.png" for k in (1, 2) for i in range(33)))
    found = BENCHMARKS["xtest_4k"].find(tmp_path)
    assert [numbers(sample)[1:4] for sample in found[:7]] == [[0, i, 32] for i in range(4, 32, 4)]
    assert [sample.t for sample in found[:7]] == [k / 8 for k in range(1, 8)]
    assert [sample.group for sample in found[6:8]] == ["Type1/TEST01_f1", "Type2/TEST02_f2"]


@pytest.mark.parametrize(("name", "folder"), [("gopro_8x", "GOPRO/test"), ("adobe240_8x", "Adobe240/test_frames")])
def test_eight_times(tmp_path, name, folder):
    write(tmp_path / folder, *(f"clip/{i:06d}.png" for i in range(19)), size=(520, 600))
    found = BENCHMARKS[name].find(tmp_path)
    assert [numbers(sample)[1:4] for sample in found[6:8]] == [[0, 7, 8], [8, 9, 16]]
    assert len(found) == 14
    assert BENCHMARKS[name].load(found[0].first).shape == (512, 512, 3)
    assert BENCHMARKS[f"{name}_full"].load(found[0].first).shape == (520, 600, 3)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_atd12k(tmp_path, ending):
    write(tmp_path / "datasets/test_2k_540p", *(f"a_{k}/frame{i}.{ending}" for k in (2, 1) for i in (1, 2, 3)))
    found = BENCHMARKS["atd12k"].find(tmp_path)
    assert [sample.name for sample in found] == ["a_1", "a_2"]
    assert numbers(found[0])[1:4] == [1, 2, 3]


def test_padding_of_atd12k(tmp_path):
    """Two rows above and two below, as in RIFE's script."""
    seen = []

    class Watching:
        variant, channel_order, any_time = "average", "rgb", True

        def apply(self, variables, frames, t):
            seen.append(frames.shape)
            return Output(frames[:, 0])

    frames = RNG.integers(0, 256, (1, 2, 540, 64, 3), np.uint8)
    prediction = scoring.predict(Interpolator(Watching(), {}), BENCHMARKS["atd12k"], frames, [0.5])
    assert seen == [(1, 2, 544, 64, 3)]
    np.testing.assert_array_equal(prediction, frames[:, 0])


def test_davis(tmp_path):
    write(tmp_path / "DAVIS/JPEGImages/480p", *(f"bear/{i:05d}.jpg" for i in range(10)))
    found = BENCHMARKS["davis"].find(tmp_path)
    assert [numbers(sample) for sample in found] == [[0, 2, 3, 4, 6], [2, 4, 5, 6, 8]]


def test_sets_of_four_frames(tmp_path):
    """The short list of septuplets, and QVI's frames of UCF101."""
    names = [f"00001/{i:04d}" for i in range(40)]
    write(tmp_path / "vimeo_septuplet/sequences", *(f"{name}/im{i}.png" for name in names for i in range(1, 8)))
    (tmp_path / "vimeo_septuplet/sep_testlist.txt").write_text("\n".join(names))
    found = BENCHMARKS["vimeo_septuplet_short_float"].find(tmp_path)
    assert [sample.name for sample in found] == ["00001/0000", "00001/0038"]
    assert numbers(found[0]) == [1, 3, 4, 5, 7]
    frames = [f"{clip}/frame{i}.png" for clip in (2, 10) for i in range(4)]
    write(tmp_path / "ucf101_qvi", *frames, "2/framet.png")
    with pytest.raises(UserError, match=r"10 lacks framet: frame0, frame1, frame2, frame3, framet are needed"):
        BENCHMARKS["ucf101_qvi"].find(tmp_path)
    write(tmp_path / "ucf101_qvi", "10/framet.png", size=(240, 320))
    found = BENCHMARKS["ucf101_qvi_float"].find(tmp_path)
    assert [sample.name for sample in found] == ["2", "10"]
    names = [f.stem for f in (found[0].before, found[0].first, found[0].truth, found[0].second, found[0].after)]
    assert names == ["frame0", "frame1", "framet", "frame2", "frame3"]
    assert BENCHMARKS["ucf101_qvi"].load(found[1].truth).shape == (224, 224, 3)


def test_any_folder(tmp_path):
    write(tmp_path, *(f"clip/{i}.png" for i in range(6)), *(f"other/deep/{i}.png" for i in range(3)))
    found = benchmarks.named(f"frames={tmp_path}").find(tmp_path)
    assert [numbers(sample) for sample in found] == [
        [None, 0, 1, 2, 4],
        [0, 2, 3, 4, None],
        [None, 0, 1, 2, None],
    ]
    assert found[-1].group == "other/deep"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no samples"):
        benchmarks.named(f"frames={tmp_path / 'empty'}").find(tmp_path)


def yuv_file(path, count, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = RNG.integers(0, 256, (count, height * width * 3 // 2), np.uint8)
    path.write_bytes(data.tobytes())
    return data


def test_hd(tmp_path, monkeypatch):
    monkeypatch.setattr(yuv, "SIZES", {"544p": (4, 8), "720p": (6, 8), "1080p": (8, 8)})
    root = tmp_path / "HD_dataset"
    for size, (height, width) in yuv.SIZES.items():
        yuv_file(root / f"HD{size}_GT/a{size}.yuv", 5 if size == "720p" else 110, height, width)
    found = yuv.hd(tmp_path)
    groups = [sample.group for sample in found]
    assert {name: groups.count(name) for name in groups} == {"a544p": 50, "a720p": 2, "a1080p": 50}
    assert [found[51].first.index, found[51].truth.index, found[51].second.index] == [2, 3, 4]
    four = yuv.hd(tmp_path, ("1080p",), gap=4)
    assert [(s.first.index, s.truth.index, s.t) for s in four[-3:]] == [(96, 97, 0.25), (96, 98, 0.5), (96, 99, 0.75)]
    with pytest.raises(UserError, match="ends before frame 7"):
        yuv.load_yuv(yuv.YuvFrame(root / "HD720p_GT/a720p.yuv", 6, 8, 7))


@pytest.mark.parametrize(("name", "kind"), [("hd", Image.Resampling.BICUBIC), ("hd_nearest", Image.Resampling.NEAREST)])
def test_yuv_of_scikit_image(tmp_path, name, kind):
    data = yuv_file(tmp_path / "a.yuv", 2, 6, 8)[1]
    planes = [data[:48].reshape(6, 8), data[48:60].reshape(3, 4), data[60:].reshape(3, 4)]
    full = [planes[0], *(np.asarray(Image.fromarray(plane).resize((8, 6), kind)) for plane in planes[1:])]
    wanted = yuv2rgb(np.stack(full, -1) / 255 - [0, 0.5, 0.5])
    wanted = np.uint8(255 * np.clip(wanted, 0, 1))
    found = BENCHMARKS[name].load(yuv.YuvFrame(tmp_path / "a.yuv", 6, 8, 1)).astype(int)
    assert np.abs(found - wanted).max() <= 1  # truncation of the last digit
    assert (found == wanted).mean() > 0.98


def test_means_of_files(tmp_path):
    """The HD set's figure is the mean of its files' means, of Y."""
    found = [benchmarks.Score(str(i), *[float(i)] * 8, group="ab"[i == 3], extra={"psnr_luma": i}) for i in range(4)]
    assert benchmarks.means(found, by_group=BENCHMARKS["hd"].by_group)["psnr_luma"] == (1 + 3) / 2
    assert BENCHMARKS["hd"].headline == "psnr_luma"


def test_unrounded_differs_by_rounding_alone():
    """A prediction that is 0.4 levels off is exact when rounded, which is at the limit of PSNR."""

    class Half:
        variant, channel_order, any_time = "average", "rgb", True

        def apply(self, variables, frames, t):
            return Output(frames[:, 0] + 0.4 / 255)

    frames = {i: np.full((32, 48, 3), 100, np.uint8) for i in range(3)}
    sample = benchmarks.BenchmarkSample("x", 0, 1, 2)
    for name, wanted in (
        ("vimeo90k", MAX_PSNR),
        ("vimeo90k_float", psnr(np.full((2, 2, 3), 0.4), np.zeros((2, 2, 3)))),
    ):
        benchmark = dataclasses.replace(BENCHMARKS[name], load=frames.get)
        scores = benchmarks.scores(Interpolator(Half(), {}), benchmark, [sample, sample], 2)
        assert [score.psnr for score in scores] == pytest.approx([wanted, wanted], abs=1e-3)
