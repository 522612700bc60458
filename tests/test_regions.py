"""Region priors: maps on disk and in records, matching, the networks that see them, and the shell."""

import dataclasses
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clips import make_clip
from parity import cases

import vfi_jax
from vfi_jax import config
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Augment, Footage, Regions, Window
from vfi_jax.data import region_maps
from vfi_jax.data.augment import Decision, crop, draw, transform
from vfi_jax.data.color_jitter import enlarge
from vfi_jax.data.region_maps import half, map_of, read_about, read_map
from vfi_jax.data.regions import disturbed, with_regions
from vfi_jax.data.sources import Synthetic, open_source
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.data.windows import training_sample
from vfi_jax.errors import DamagedError, UsageError, UserError
from vfi_jax.inference import Interpolator
from vfi_jax.inference import regions as clip_regions
from vfi_jax.models import registry
from vfi_jax.nn.regions import RegionNorm, positions, region_codes
from vfi_jax.prepare.records import write_records
from vfi_jax.prepare.region_matching import Numbering, compacted, matches
from vfi_jax.prepare.regions import Brought, painted, write_map, write_regions
from vfi_jax.training.checks import check
from vfi_jax.viz.sheets import save_png

RNG = np.random.default_rng(0)
ABOUT = {"format": "region-maps", "version": 1, "scale": 2, "matched": True, "source": "", "licence": ""}


def labels_of(height, width, numbers=4):
    return RNG.integers(0, numbers, half(height, width), np.uint8)


def write_clip(folder, count=3, size=(45, 61)):
    """Numbered pictures of noise with their maps."""
    folder.mkdir(parents=True)
    for index in range(1, count + 1):
        save_png(folder / f"im{index}.png", RNG.integers(0, 256, (*size, 3), np.uint8))
        write_map(folder / f"im{index}.regions.png", labels_of(*size))
    (folder / "regions.json").write_text(json.dumps(ABOUT))
    return folder


# Files


def test_a_map_survives_its_file(tmp_path):
    labels = labels_of(45, 61, 256)
    assert labels.shape == (23, 31)
    path = map_of(tmp_path / "im1.png")
    assert path.name == "im1.regions.png"
    write_map(path, labels)
    assert np.array_equal(read_map(path, (45, 61)), labels)
    assert np.array_equal(read_map(path, (46, 62)), labels)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((23, 31), 300, np.uint16), "16 bits deep with numbers up to 300"),
        (np.full((23, 31), 9, np.uint16), "16 bits deep: 8 bits"),
        (np.zeros((23, 31, 3), np.uint8), "colored"),
        (np.zeros((45, 61), np.uint8), "is 61x45: half of 61x45 is 31x23"),
    ],
)
def test_other_depths_and_sizes_are_one_line(tmp_path, picture, message):
    cv2.imwrite(str(tmp_path / "im1.regions.png"), picture)
    with pytest.raises(DamagedError, match=message):
        read_map(tmp_path / "im1.regions.png", (45, 61))


def test_few_bits_are_no_map(tmp_path):
    """OpenCV would stretch 1 bit to 0 and 255."""
    from PIL import Image

    Image.fromarray(np.eye(31, dtype=bool)[:23]).save(tmp_path / "im1.regions.png")
    with pytest.raises(DamagedError, match="1 bits deep"):
        read_map(tmp_path / "im1.regions.png", (45, 61))


def test_a_damaged_map_is_one_line(tmp_path):
    write_map(path := tmp_path / "im1.regions.png", labels_of(45, 61))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedError, match="damaged"):
        read_map(path, (45, 61))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 2}, "version 2"), ({"format": "other"}, "describes no region maps"), ({"scale": 4}, "scale 4")],
)
def test_other_descriptions_are_refused(tmp_path, change, message):
    (tmp_path / "regions.json").write_text(json.dumps({**ABOUT, **change}))
    with pytest.raises(UserError, match=message):
        read_about(tmp_path / "a/b")


def test_the_nearest_description_counts(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "regions.json").write_text(json.dumps({**ABOUT, "source": "far"}))
    (tmp_path / "a/regions.json").write_text(json.dumps({**ABOUT, "source": "near"}))
    assert read_about(tmp_path / "a")["source"] == "near"
    assert read_about(tmp_path / "b")["source"] == "far"


# Sets


def test_windows_carry_their_maps(tmp_path):
    write_clip(tmp_path / "a")
    (tmp_path / "a/regions.json").rename(tmp_path / "regions.json")
    lines = []
    source = with_regions(open_source(str(tmp_path), 0), tmp_path, lines.append)
    assert source[0]["frames"].shape == (3, 45, 61, 3)  # maps are no frames
    assert np.array_equal(source[0]["regions"][1], read_map(tmp_path / "a/im2.regions.png", (45, 61)))
    (tmp_path / "a/im2.regions.png").unlink()
    source = with_regions(open_source(str(tmp_path), 0), tmp_path, lines.append)
    assert not source[0]["regions"][1].any()
    assert source[0]["regions"][0].any()
    assert len(lines) == 1
    assert "1 of 3 region maps are missing" in lines[0]


def test_half_of_the_maps_missing_is_an_error(tmp_path):
    write_clip(tmp_path / "a", count=4)
    (tmp_path / "a/regions.json").rename(tmp_path / "regions.json")
    for index in (1, 3):
        (tmp_path / f"a/im{index}.regions.png").unlink()
    with pytest.raises(UserError, match="2 of 4 region maps"):
        with_regions(open_source(str(tmp_path), 0), tmp_path)


def test_a_set_without_maps_says_how_to_make_them(tmp_path):
    write_clip(tmp_path / "a")
    (tmp_path / "a/regions.json").unlink()
    with pytest.raises(UserError, match="vfi-jax prepare regions"):
        with_regions(open_source(str(tmp_path), 0), tmp_path)
    (tmp_path / "regions.json").write_text(json.dumps({**ABOUT, "matched": False}))
    with pytest.raises(UserError, match="not matched"):
        with_regions(open_source(str(tmp_path), 0), tmp_path)


def test_synthetic_maps_are_those_of_the_layers():
    source = with_regions(Synthetic(2, 3, 45, 61), "synthetic:2")
    window, scene = source[1], random_scene(1, 45, 61, speed=10.0)
    assert window["regions"].shape == (3, 23, 31)
    assert np.array_equal(window["regions"][2], scene.surfaces(1.0)[::2, ::2] + 1)


def test_records_hold_maps(tmp_path):
    write_records("synthetic:2", tmp_path / "set", Footage(frames=3), regions=True)
    source = open_source(str(tmp_path / "set"), 3)
    assert "regions" not in source[0]
    wanted = with_regions(Synthetic(2, 3), "synthetic:2")[1]["regions"]
    assert np.array_equal(with_regions(source, tmp_path / "set")[1]["regions"], wanted)
    write_records("synthetic:2", tmp_path / "plain", Footage(frames=3))
    with pytest.raises(UserError, match="prepare records --regions"):
        with_regions(open_source(str(tmp_path / "plain"), 3), tmp_path / "plain")


# Samples


def window_of(frames=3, size=(40, 56)):
    height, width = size
    return {
        "frames": RNG.integers(0, 256, (frames, height, width, 3), np.uint8),
        "regions": np.stack([labels_of(height, width) for _ in range(frames)]),
        "name": "a/0",
    }


def with_marks(window):
    """Frames whose red channel is the number of the region at their even pixels."""
    frames = window["frames"].copy()
    frames[:, ::2, ::2, 0] = window["regions"]
    return {**window, "frames": frames}


def test_maps_move_with_the_frames():
    """After crop and enlargement a map still holds the labels of the even pixels; flips move it by whole cells."""
    sample = training_sample(with_marks(window_of()), Window(3, (0, 2), 1), np.random.default_rng(0))
    for seed in range(20):
        cut = crop(sample, 16, np.random.default_rng(seed))
        assert np.array_equal(cut["frames"][:, ::2, ::2, 0], cut["regions"])
    cell = np.repeat(np.repeat(cut["regions"], 2, 1), 2, 2)
    marked = {**cut, "frames": np.repeat(cell[..., None], 3, -1)}
    for seed in range(20):
        turned = transform(marked, draw(np.random.default_rng(seed), Augment(crop=16, transpose=0.5)))
        assert np.array_equal(turned["frames"][:, ::2, ::2, 1], turned["regions"])
    large = enlarge(cut)
    assert np.array_equal(large["regions"], np.repeat(np.repeat(cut["regions"], 2, 1), 2, 2))


def test_time_reversal_exchanges_the_maps():
    sample = {**window_of(2, (16, 16)), "target": np.zeros((16, 16, 3), np.uint8), "t": np.full((1, 1, 1), 0.5)}
    turned = transform(sample, Decision(False, False, False, True, 0, False))
    assert np.array_equal(turned["regions"], sample["regions"][::-1])


def test_noise_and_dropping():
    maps = np.stack([np.repeat(np.arange(1, 10, dtype=np.uint8), 4)[None].repeat(36, 0)] * 2)
    rng = np.random.default_rng(0)
    assert np.array_equal(disturbed(maps, Regions(drop=0, drop_one=0), rng), maps)
    assert not disturbed(maps, Regions(drop=1), rng).any()
    one = disturbed(maps, Regions(drop=0, drop_one=1), rng)
    assert sorted(each.any() for each in one) == [False, True]
    noisy = disturbed(maps, Regions(drop=0, drop_one=0, noise=1), rng)
    assert set(np.unique(noisy)) < {0, *range(1, 10)}
    assert 0 in noisy
    assert len(set(np.unique(noisy[0])) ^ set(np.unique(noisy[1]))) == 1  # two neighbors of one frame are merged


# Matching


def squares(shift=0, number=(1, 2), extra=False):
    labels = np.zeros((60, 80), int)
    labels[8 : 8 + 16, 10 + shift : 26 + shift] = number[0]
    labels[34 : 34 + 16, 40 - shift : 56 - shift] = number[1]
    if extra:
        labels[30:42, 4:16] = 3
    return labels


def test_shifted_squares_keep_their_numbers():
    before = squares()
    flow = np.zeros((60, 80, 2), np.float32)
    flow[:30, :, 0], flow[30:, :, 0] = 7, -7
    after = squares(7, number=(2, 1), extra=True)
    assert matches(before, after, flow) == {2: 1, 1: 2}
    numbering = Numbering()
    first = numbering.number(compacted(before), None)
    second = numbering.number(compacted(after), flow)
    assert np.array_equal(second[:30], np.roll(first[:30], 7, 1))
    new = set(np.unique(second)) - set(np.unique(first))
    assert len(new) == 1
    assert np.array_equal(second == new.pop(), after == 3)


def test_small_regions_are_dropped_and_large_ones_come_first():
    labels = squares() * 50
    labels[0, 0] = 7
    labels[0:20, 60:80] = 9
    assert np.array_equal(compacted(labels), np.select([labels == 9, labels == 50, labels == 100], [1, 2, 3], 0))


def test_small_masks_lie_on_top():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1, 1], masks[1] = True, True
    assert np.array_equal(painted(masks), np.where(masks[0], 1, 2))


def test_brought_labels_are_matched(tmp_path):
    """Two frames of one moving square; its number differs in the labels, and not in the maps."""
    for index, (shift, number) in enumerate(((0, 500), (6, 3)), 1):
        frame = np.full((64, 96, 3), 40, np.uint8)
        frame[:, :, 0] = RNG.integers(0, 60, (1, 96)) if index == 1 else frame[:, :, 0]
        frame[16:48, 20 + shift : 52 + shift] = cv2.resize(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5, (32, 32))
        labels = np.zeros((64, 96), np.uint16)
        labels[16:48, 20 + shift : 52 + shift] = number
        save_png(tmp_path / f"im{index}.png", frame)
        (tmp_path / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"labels/im{index}.png"), labels)
    (tmp_path / "labels").rename(tmp_path.parent / "labels_of_brought")
    brought = Brought(tmp_path.parent / "labels_of_brought", "a segmenter 1.0", "MIT")
    about = write_regions(tmp_path, brought=brought)
    assert (about["pictures"], about["source"], about["matched"]) == (2, "a segmenter 1.0", True)
    maps = [read_map(tmp_path / f"im{index}.regions.png", (64, 96)) for index in (1, 2)]
    assert np.array_equal(maps[1], np.roll(maps[0], 3, 1))
    with pytest.raises(UsageError, match="made otherwise"):
        write_regions(tmp_path, brought=dataclasses.replace(brought, source="another"))


def test_labels_of_another_size(tmp_path):
    folder = write_clip(tmp_path / "a", count=1)
    (folder / "regions.json").unlink()
    (folder / "im1.regions.png").unlink()
    np.save(tmp_path / "im1.npy", np.zeros((2, 45, 60), bool))
    with pytest.raises(UserError, match="60x45, its picture 61x45"):
        write_regions(folder, brought=Brought(tmp_path))
    (tmp_path / "im1.npy").unlink()
    with pytest.raises(UserError, match="no labels for"):
        write_regions(folder, brought=Brought(tmp_path))


def test_superpixels_through_the_shell(tmp_path, capsys):
    folder = write_clip(tmp_path / "a", count=2, size=(48, 64))
    (folder / "regions.json").unlink()
    for index in (1, 2):
        (folder / f"im{index}.regions.png").unlink()
        save_png(
            folder / f"im{index}.png",
            cv2.blur(np.tile(np.uint8([[[9, 9, 9]] * 32 + [[200, 9, 90]] * 32]), (48, 1, 1)), (3, 3)),
        )
    cli_main.main(["prepare", "regions", str(tmp_path)])
    assert "maps of 2 pictures in 1 folders, by skimage" in capsys.readouterr().out
    maps = [read_map(folder / f"im{index}.regions.png", (48, 64)) for index in (1, 2)]
    assert np.array_equal(maps[0], maps[1])
    assert len(np.unique(maps[0])) == 2


# The networks


@pytest.mark.parametrize(
    "case",
    [
        *cases("ifrnet", lambda fields: fields["kind"] == "inference", fast="ifrnet-infer_40x60_scale08")[:1],
        *cases("rife_v4_25", fast="none")[:1],
    ],
)
def test_published_weights_give_the_same_bits(case):
    check_bits(case)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"), [("ifrnet_s", 11), ("rife", 8), ("rife_v4_6", 8), ("rife_v4_25", 8), ("rife_lap_s", 8)]
)
def test_zero_start(name, channels):
    model, variables = vfi_jax.create(name, region_channels=channels)
    plain = {"params": {key: value for key, value in variables["params"].items() if not key.startswith("region_")}}
    frames = RNG.random((2, 2, 64, 64, 3), np.float32)
    maps = RNG.integers(0, 256, (2, 2, 32, 32), np.uint8)
    without = jax.jit(registry.build(name).apply)(plain, frames, 0.5)
    found = jax.jit(model.apply)(variables, frames, 0.5, regions=maps, region_seed=3)
    assert np.array_equal(without.frame, found.frame)
    assert np.array_equal(without.frame, jax.jit(model.apply)(variables, frames, 0.5).frame)


def check_bits(case):
    fields = {"scale": case.fields["scale_factor"]} if "scale_factor" in case.fields else {}
    frames = np.asarray(case.frames)
    maps = RNG.integers(0, 256, (len(frames), 2, *half(*frames.shape[2:4])), np.uint8)
    plain = registry.build(case.model, **fields)
    model = registry.build(case.model, region_channels=8, **fields)
    fresh = registry.create(case.model, region_channels=8)[1]["params"]
    added = {name: value for name, value in fresh.items() if name.startswith("region_")}
    variables = {"params": {**case.variables["params"], **added}}
    without = jax.jit(plain.apply)(case.variables, frames, case.t)
    found = jax.jit(model.apply)(variables, frames, case.t, regions=maps)
    assert np.array_equal(without.frame, found.frame)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ifrnet_s", 116_980),
        pytest.param("ifrnet", 152_816, marks=pytest.mark.slow),
        pytest.param("ifrnet_l", 296_160, marks=pytest.mark.slow),
        pytest.param("rife", 439_648, marks=pytest.mark.slow),
    ],
)
def test_numbers_of_parameters(name, count):
    shapes = registry.shapes(name, region_channels=8)["params"]
    added = [jax.tree.leaves(value) for key, value in shapes.items() if key.startswith("region_")]
    assert sum(int(np.prod(leaf.shape)) for leaves in added for leaf in leaves) == count


def test_a_plain_file_loads_with_zeros():
    state = vfi_jax.to_torch("ifrnet_s", vfi_jax.create("ifrnet_s", widths=(4, 4, 6, 6))[1])
    model = registry.build("ifrnet_s", widths=(4, 4, 6, 6), region_channels=8)
    from vfi_jax.torch_io.state_dict import import_state

    variables = import_state(model, state, registry.spec_of("ifrnet_s")).variables
    added = vfi_jax.to_torch("ifrnet_s", variables)
    assert not added["region.level2.gamma.weight"].any()
    assert added["region.level2.gamma.weight"].shape == (4, 32, 3, 3)
    assert added["region.level1.shared.weight"].shape == (32, 8, 3, 3)
    assert (added["region.level1.slope"] == 0.25).all()
    del state["encoder.pyramid1.0.0.bias"]
    with pytest.raises(UserError, match="1 missing"):
        import_state(model, state, registry.spec_of("ifrnet_s"))


def test_codes_of_equal_numbers_are_equal():
    maps = RNG.integers(0, 5, (2, 2, 6, 7), np.uint8)
    codes = np.asarray(region_codes(jnp.asarray(maps), 8, 0))
    assert (codes[maps == 0] == 0).all()
    assert len(np.unique(codes.reshape(-1, 8), axis=0)) == 5
    own = np.asarray(region_codes(jnp.asarray(maps), 8, jax.random.key(0)))
    assert not np.allclose(own[0][maps[0] == 3][0], own[1][maps[1] == 3][0])
    renumbered = np.uint8([0, 7, 9, 3, 200])[maps]
    assert not np.allclose(codes, region_codes(jnp.asarray(renumbered), 8, 0))


def test_positions_move_and_grow_with_their_region():
    labels = np.zeros((40, 60), np.uint8)
    labels[5:25, 10:50] = 3
    u = np.asarray(positions(labels))
    # Independent: of a rectangle the deviations along the axes are known.
    deviation = np.sqrt(np.array([40**2 - 1, 20**2 - 1]) / 12 + 1)
    assert u[5, 10, :2] == pytest.approx(-np.array([19.5, 9.5]) / deviation, rel=1e-4)
    assert u[5, 10, 2] == pytest.approx(np.exp(-(u[5, 10, :2] ** 2).sum() / 2), rel=1e-4)
    assert not u[labels == 0].any()
    moved = np.asarray(positions(np.roll(labels, (3, 4), (0, 1))))
    assert np.allclose(moved, np.roll(u, (3, 4), (0, 1)), atol=1e-4)


def test_the_normalization_follows_the_codes():
    """Against its formula in NumPy, with a kernel that passes on the middle pixel alone."""
    norm, f = RegionNorm(), RNG.normal(size=(1, 4, 6, 5)).astype(np.float32)
    codes = RNG.normal(size=(1, 8, 12, 8)).astype(np.float32)
    params = jax.tree.map(np.array, norm.init(jax.random.key(0), f, codes)["params"])
    middle = RNG.normal(size=(8, 32)).astype(np.float32)
    params["shared"]["weight"][1, 1], params["slope"][:] = middle, 0.25
    gain = RNG.normal(size=(32, 5)).astype(np.float32)
    params["gamma"]["weight"][1, 1], params["beta"]["bias"][:] = gain, 0.5
    hidden = codes.reshape(1, 4, 2, 6, 2, 8).mean((2, 4)) @ middle
    hidden = np.where(hidden > 0, hidden, 0.25 * hidden)
    normalized = (f - f.mean((1, 2), keepdims=True)) / np.sqrt(f.var((1, 2), keepdims=True) + 1e-5)
    assert np.allclose(norm.apply({"params": params}, f, codes), f + (hidden @ gain) * normalized + 0.5, atol=1e-5)


NARROW = {"widths": (4, 6, 6, 8)}


@pytest.fixture(scope="module")
def narrow():
    """A narrow IFRNet with random normalizations, so that maps count."""
    model, variables = vfi_jax.create("ifrnet_s", region_channels=8, **NARROW)
    rng = np.random.default_rng(0)
    params = {
        name: jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), value)
        if name.startswith("region_")
        else value
        for name, value in variables["params"].items()
    }
    return model, {"params": params}


@pytest.mark.slow
def test_first_gradients(narrow):
    model, variables = vfi_jax.create("ifrnet_s", region_channels=8, **NARROW)
    spec = registry.spec_of("ifrnet_s")
    frames = RNG.random((1, 2, 32, 32, 3), np.float32)
    batch = {
        "frames": frames, "target": frames[:, 0], "t": np.full((1, 1, 1, 1), 0.5, np.float32),
        "regions": RNG.integers(1, 4, (1, 2, 16, 16), np.uint8),
    }  # fmt: skip

    @jax.jit
    def gradient(params):
        def objective(params):
            variables = {"params": params}
            return spec.loss(model, variables, batch, spec.loss_config, step=0, rng=jax.random.key(0))[0]

        return jax.grad(objective)(params)

    params = variables["params"]
    found = gradient(params)["region_level1"]
    assert np.abs(found["gamma"]["weight"]).max() > 0
    assert np.abs(found["beta"]["bias"]).max() > 0
    assert not np.abs(found["shared"]["weight"]).any()
    after = jax.tree.map(lambda value, slope: value - 1e-2 * slope, params, gradient(params))
    assert np.abs(gradient(after)["region_level1"]["shared"]["weight"]).max() > 0


@pytest.mark.slow
def test_only_equality_of_numbers_counts(narrow, monkeypatch):
    """Numbers exchanged, and the codes with them: nothing changes."""
    from vfi_jax.nn import regions

    model, variables = narrow
    frames = RNG.random((1, 2, 32, 32, 3), np.float32)
    maps = RNG.integers(0, 200, (1, 2, 16, 16), np.uint8)
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(255)]).astype(np.uint8)
    before = model.apply(variables, frames, 0.5, regions=maps).frame
    table = regions._table(jax.random.key(0))
    monkeypatch.setattr(regions, "_table", lambda key: jnp.zeros_like(table).at[order].set(table))
    assert np.array_equal(before, model.apply(variables, frames, 0.5, regions=order[maps]).frame)
    assert not np.array_equal(before, model.apply(variables, frames, 0.5, regions=maps).frame)


@pytest.mark.slow
def test_interpolator_pads_maps(narrow):
    """Frames of odd size: maps are padded like the frames, which are centered in multiples of 16."""
    model, variables = narrow
    interpolate = Interpolator(model, variables)
    frames = RNG.integers(0, 256, (2, 45, 29, 3), np.uint8)
    maps = np.stack([labels_of(45, 29) for _ in range(2)])
    found = interpolate(*frames, regions=maps)
    assert found.shape == (45, 29, 3)
    assert not np.array_equal(found, interpolate(*frames))
    padded = np.pad(frames.astype(np.float32) / 255, ((0, 0), (1, 2), (1, 2), (0, 0)), mode="edge")
    by_hand = np.pad(maps, ((0, 0), (0, 1), (0, 1)))
    frame = jax.jit(model.apply)(variables, padded[None], 0.5, regions=by_hand[None]).frame[0, 1:46, 1:30]
    assert np.array_equal(found, np.rint(np.asarray(frame) * 255).astype(np.uint8))
    assert np.array_equal(next(interpolate.between([*frames], [0.5], regions=maps)), found)
    batch = interpolate(*np.stack([frames, frames], 1), regions=np.stack([maps, maps]))
    assert np.array_equal(batch[1], found)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros((2, 45, 29), np.uint8), r"uint8 \[1, 2, 23, 15\] is needed"),
        (np.zeros((2, 23, 15), np.uint16), "uint16"),
        (np.zeros((1, 23, 15), np.uint8), r"\[1, 23, 15\]"),
    ],
)
def test_interpolator_refuses_other_maps(narrow, maps, message):
    with pytest.raises(UserError, match=message):
        Interpolator(*narrow)(*np.zeros((2, 45, 29, 3), np.uint8), regions=maps)


def test_a_network_without_regions_refuses_maps():
    interpolate = Interpolator(*vfi_jax.create("ifrnet_s", **NARROW))
    with pytest.raises(UsageError, match="sees no regions"):
        interpolate(*np.zeros((2, 32, 32, 3), np.uint8), regions=np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(UsageError, match="sees no regions"):
        clip_regions.check_model(interpolate)
    with pytest.raises(UsageError, match="0, 8 or 11"):
        vfi_jax.create("ifrnet_s", region_channels=7)


# A clip


def test_pairs_get_the_maps_of_their_frames(tmp_path, narrow):
    folder = write_clip(tmp_path / "a", count=4)
    (folder / "im3.regions.png").unlink()
    maps = region_maps.numbered_maps(folder)
    assert sorted(maps) == [0, 1, 3]
    seen = []

    class Recorder(Interpolator):
        def __init__(self):
            pass

        def between(self, frames, times, regions):
            seen.append(regions)
            return iter(())

    between = clip_regions.between_with(Recorder(), maps)
    for _ in range(3):
        between([np.zeros((45, 61, 3), np.uint8)] * 2, [0.5])
    stored_maps = [read_map(path, (45, 61)) for _, path in sorted(maps.items())]
    assert np.array_equal(seen[0], np.stack(stored_maps[:2]))
    assert not seen[1][1].any()
    assert np.array_equal(seen[2][1], stored_maps[2])


def test_numbers_of_maps(tmp_path):
    for name in ("f_000", "f_001"):
        write_map(tmp_path / f"{name}.regions.png", labels_of(8, 8))
    assert sorted(region_maps.numbered_maps(tmp_path)) == [0, 1]
    with pytest.raises(UserError, match="before the first frame, 1"):
        region_maps.numbered_maps(tmp_path, 1)
    write_map(tmp_path / "g_001.regions.png", labels_of(8, 8))
    with pytest.raises(UserError, match="two region maps have one number"):
        region_maps.numbered_maps(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        region_maps.numbered_maps(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("half", "2 of 4 region maps"),
        ("size", "is 4x4: half of 64x48 is 32x24"),
        ("more", "is of frame 4, and"),
        ("plain", "sees no regions with these weights"),
    ],
)
def test_bad_maps_of_a_video_are_one_line(tmp_path, capsys, change, message):
    make_clip(video := tmp_path / "in.mp4", frames=4, size=(64, 48))
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "regions.json").write_text(json.dumps(ABOUT))
    for index in {"half": (1, 2), "more": range(1, 6)}.get(change, range(1, 5)):
        write_map(maps / f"{index:06d}.regions.png", labels_of(*((8, 8) if change == "size" else (48, 64))))
    arguments = ["interpolate", str(video), "-o", str(tmp_path / "out.mp4"), "--fast", "--regions", str(maps)]
    assert cli_main.main(arguments) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert not (tmp_path / "out.mp4").exists()


# Training


def test_recipes_are_checked():
    base = {"model": "ifrnet_s", "steps": 1, "data": {"path": "synthetic:8", "regions": {"maps": True}}}
    with pytest.raises(UsageError, match="region_channels=8"):
        check(config.parse(config.Train, base), registry.spec_of("ifrnet_s"))
    with pytest.raises(UsageError, match="takes no region maps"):
        check(config.parse(config.Train, {**base, "model": "cain"}), registry.spec_of("cain"))
