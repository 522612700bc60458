"""Distance indexing against stored cases of InterpAny-Clearer: networks, iteration by reference, maps."""

import dataclasses
import functools
import json
import runpy
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from clips import make_clip
from parity import apart, cases, ops, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Augment, Data, Distance, Train, Window
from vfi_jax.data import distance_maps, pipeline, sources
from vfi_jax.data.distances import distance_sample, with_maps
from vfi_jax.data.pipeline import GrainBatches
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import editing
from vfi_jax.models import registry
from vfi_jax.prepare import distances
from vfi_jax.torch_io import state_dict
from vfi_jax.training.checks import check
from vfi_jax.types import Output
from vfi_jax.video.coding.decode import Reader
from vfi_jax.viz.sheets import save_png

FRAME, FLOW = 1e-4, 1e-3
FAST = "d_ifrnet-fwd_64x96_smap"  # the others run with the slow tests


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t, **inputs):
    return model.apply(variables, frames, t, **inputs)


def networks(wanted):
    """The stored cases of all four networks."""
    return [case for family in ("d_ifrnet", "d_rife", "dr_ifrnet", "dr_rife") for case in cases(family, wanted, FAST)]


def frames_of(case):
    return np.stack([case.arrays["in/img0"], case.arrays["in/img1"]], 1)


def reference_of(case):
    if "in/img_ref" not in case.arrays:
        return {}
    return {"reference": case.arrays["in/img_ref"], "reference_t": case.arrays["in/D_ref"]}


def every(array, name):
    """The entries that are stored under a name that ends in `_subN`."""
    _, found, step = name.rpartition("_sub")
    return array[:, :: int(step), :: int(step)] if found else array


@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith(("fwd", "infer_64x64_b2"))))
def test_forward(case):
    out = run(registry.build(case.model), case.variables, frames_of(case), case.arrays["in/D"], **reference_of(case))
    assert apart(out.frame, case.arrays["out/pred"]) < FRAME
    for key in [key for key in case.arrays if key.startswith("mid/")]:
        name, stored = key.removeprefix("mid/"), case.arrays[key]
        if name.startswith("flow_block"):
            assert apart(every(out.flows[int(name[10])], name), stored) < FLOW, key
        elif name.startswith("flow"):  # flow0_level1_sub4; level 1 is the finest
            half = slice(0, 2) if name[4] == "0" else slice(2, 4)
            assert apart(every(out.flows[-int(name[11])][..., half], name), stored) < FLOW, key
        elif name.startswith("mask"):
            assert apart(every(out.mask, name), stored) < FRAME, key


@pytest.mark.parametrize("case", networks(lambda f: "iters" in f["name"] or "anchor" in f["name"]))
def test_iteration_by_reference(case):
    model, frames, distance = registry.build(case.model), frames_of(case), case.arrays["in/D"]
    for key in [key for key in case.arrays if key.startswith("out/")]:
        wrapped = inference.iterate_reference(model, int(key.removeprefix("out/pred_iters")[0]))
        out = run(wrapped, case.variables, frames, distance, **reference_of(case))
        assert apart(every(out.frame, key), case.arrays[key]) < FRAME, key


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f.get("kind") == "training"))
def test_objective_and_gradients(case):
    spec, model, stored = vfi_jax.MODELS[case.model], registry.build(case.model), case.arrays
    batch = {"frames": frames_of(case), "target": stored["in/imgt"], "t": stored["in/D"]}

    def objective(params):
        return spec.loss(model, {"params": params}, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(case.variables["params"])
    assert relative(total, stored["loss/total"]) < 1e-5
    assert relative(aux.terms["reconstruction"], stored["loss/loss_l1"]) < 1e-5
    assert relative(aux.terms["teacher"], stored["loss/loss_tea"]) < 1e-5
    assert relative(aux.terms["distillation"], 0.002 * stored["loss/loss_distill"]) < 1e-5
    assert apart(every(aux.frame, "_sub2"), stored["out/pred_sub2"]) < FRAME
    ours = state_dict.to_torch(spec, {"params": gradients})
    checks = {
        "grad/": lambda a: a,
        "grad_mean/": np.mean,
        "grad_norm/": np.linalg.norm,
        "grad_head64/": lambda a: a.ravel()[:64],
    }
    for prefix, part in checks.items():
        for key in [key for key in stored if key.startswith(prefix)]:
            tolerance = 1e-3 * np.abs(ours[key.removeprefix(prefix)]).max() if prefix == "grad_mean/" else None
            value = part(ours[key.removeprefix(prefix)])
            assert apart(value, stored[key]) < tolerance if tolerance else relative(value, stored[key]) < 1e-3, key


# Maps


@pytest.fixture(scope="module")
def stored():
    return ops("ops_interpany", "ops")


def test_projection_and_storage(stored):
    for prefix in ("", "clean_"):
        full = distance_maps.projected(stored[f"{prefix}flow_0t"], stored[f"{prefix}flow_01"])
        np.testing.assert_allclose(full, stored[f"{prefix}D_full"], rtol=2e-6, atol=1e-6)
        half = distance_maps.stored(full)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half.astype(np.float32), stored[f"{prefix}D_half_float16"])
    assert np.isnan(full).sum() == 0
    assert np.isnan(stored["D_half_area"]).sum() == 1


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("pipe_up2", Distance(blur=0, clip=False)),
        ("pipe_rife_D", Distance(blur=5, blur_at="half")),
        ("pipe_bench_blur5_then_up", Distance(blur=5, blur_at="half")),
        ("pipe_rife_DR", Distance(blur_at="crop")),
        ("pipe_bench_rife_DR", Distance(blur_at="crop")),
        ("pipe_amt_ifrnet", Distance()),
    ],
)
def test_order_of_clipping_and_blurring(stored, name, config):
    half = stored["clean_D_half_float16"].astype(np.float16)
    size = stored[name].shape
    found = distance_maps.of_crop(distance_maps.of_frame(half, size, config), config)
    assert apart(found, stored[name]) < 1e-6


def test_kernels_are_tables(stored):
    for size, kernel in distance_maps.KERNELS.items():
        assert apart(kernel, stored[f"gauss{size}"]) < 1e-7


def test_means_of_objects(stored):
    masks = np.moveaxis(stored["objavg_masks_without_bg"], -1, 0) > 0
    assert apart(distance_maps.averaged(stored["objavg_D_in"], masks), stored["objavg_D_out"]) < 1e-6


@pytest.mark.parametrize("number", range(4))
def test_curves(stored, number):
    nodes = 0.1 + 0.8 * stored[f"curve{number}_points"] / 100
    found = distance_maps.sampled_curve(nodes, np.linspace(0, 1, 5))
    assert apart(found, stored[f"curve{number}_values_num5"]) < 1e-6


def test_the_first_mask_is_painted_last(stored):
    masks = np.moveaxis(stored["manip_masks"], -1, 0) > 0
    assert (masks[0] & masks[1]).any()
    for wanted in stored["manip_maps_num5"]:
        values = [wanted[masks[0]].max(), wanted[masks[1] & ~masks[0]].max()]
        assert apart(distance_maps.painted(masks, values), wanted) < 1e-6


@pytest.mark.parametrize(
    ("name", "goal", "start", "steps"),
    [("iters3_D0.6", 0.6, 0.0, 3), ("anchor_iters2_D0.8_ref0.5", 0.8, 0.5, 2)],
)
def test_schedule_of_the_iterations(stored, name, goal, start, steps):
    seen = []

    class Seer:
        variant, channel_order, any_time = "dr_rife", "rgb", True

        def apply(self, variables, frames, t, reference, reference_t):
            seen.append([float(t.ravel()[0]), float(reference_t.ravel()[0])])
            return Output(frames[:, 0])

    frames = np.zeros((1, 2, 4, 4, 3), np.float32)
    with jax.disable_jit():
        inference.iterate_reference(Seer(), steps).apply({}, frames, goal, frames[:, 0], start)
    times, references = np.transpose(seen)
    assert apart(np.append(references[0], times), stored[f"sched_{name}"]) < 1e-6
    assert references[1:] == pytest.approx(times[:-1])


# Sets


SPEED = (0.0, 2.0, 6.0, 8.0)  # columns that a texture has moved by, in four frames: not uniform


def write_set(root, count=3, size=(96, 128)):
    """Windows of four frames of a texture that moves sideways, unevenly."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    picture = cv2.resize(coarse, (size[1] + 16, size[0]), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        (root / f"clip/{number}").mkdir(parents=True)
        for index, moved in enumerate(SPEED):
            columns = slice(int(8 - moved) + number, int(8 - moved) + number + size[1])
            save_png(root / f"clip/{number}/im{index}.png", picture[:, columns])
    return root


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    root = write_set(tmp_path_factory.mktemp("set"))
    assert cli_main.main(["prepare", "distance", str(root), "--teacher", "dis"]) == 0
    return root


WINDOW = Window(frames=4, sorted_share=1.0)


def opened(root, window=WINDOW):
    return with_maps(sources.open_source(str(root), window.frames), root, "dis", window)


def test_maps_of_a_set(mapped):
    maps = opened(mapped)[1]["distance"]
    for start, target, end in distance_maps.triples(4):
        wanted = (SPEED[target] - SPEED[start]) / (SPEED[end] - SPEED[start])
        assert np.median(maps.read(start, target, end)) == pytest.approx(wanted, abs=0.1)
    assert maps.read(0, 1, 3).shape == (48, 64)


def test_an_interrupted_command_continues(mapped, monkeypatch):
    (file,) = (mapped / "distance_dis").glob("*.safetensors")
    before, inode = file.read_bytes(), file.stat().st_ino
    distances.write_distance_maps(str(mapped), "dis", weights=None)
    assert file.stat().st_ino == inode
    file.unlink()
    with pytest.raises(UserError, match=r"unfinished: run the `vfi-jax prepare distance`"):
        opened(mapped)
    distances.write_distance_maps(str(mapped), "dis", weights=None)
    assert file.read_bytes() == before


def test_samples_with_maps(mapped):
    record, config = opened(mapped)[0], Distance(maps="dis", reference=True)
    seen = set()
    for seed in range(40):
        sample = distance_sample(record, WINDOW, config, np.random.default_rng(seed), reverse=0.5)
        assert sample["t"].shape == sample["reference_t"].shape == (96, 128, 1)
        moved = [SPEED[index] for index in places(record, sample)]
        start, end, target, reference = moved
        assert np.median(sample["t"]) == pytest.approx((target - start) / (end - start), abs=0.1)
        assert np.median(sample["reference_t"]) == pytest.approx((reference - start) / (end - start), abs=0.1)
        seen |= {"reversed" if start > end else "forward"}
        seen |= {name for name, value in zip(("start", "end", "target"), moved, strict=False) if value == reference}
    assert seen == {"forward", "reversed", "start", "end", "target"}


def places(record, sample):
    images = [*sample["frames"], sample["target"], sample["reference"]]
    return [next(i for i, frame in enumerate(record["frames"]) if np.array_equal(frame, image)) for image in images]


def test_samples_with_times_and_a_reference(mapped):
    record = sources.open_source(str(mapped), 4)[0]
    sample = distance_sample(record, WINDOW, Distance(reference=True), np.random.default_rng(0), reverse=1.0)
    start, end, target, reference = places(record, sample)
    assert start > end
    assert sample["t"].tolist() == [[[np.float32((target - start) / (end - start))]]]
    assert sample["reference_t"].tolist() == [[[np.float32((reference - start) / (end - start))]]]


@pytest.mark.parametrize("at", ["half", "frame", "crop"])
def test_batches_move_maps_with_the_images(mapped, at):
    """A map that equals the red channel still does after crop, flips, rotation."""
    augment = Augment(crop=48, reverse_channels=0.0)
    data = Data(window=WINDOW, augment=augment, distance=Distance("dis", blur=0, blur_at=at, reference=True))

    class Red:
        names, has_own_split, by_clip = ("a", "b"), False, False

        def __len__(self):
            return 2

        def __getitem__(self, index):
            half = np.random.default_rng(index).integers(0, 256, (32, 40, 1), np.uint8)
            image = np.repeat(half.repeat(2, 0).repeat(2, 1), 3, -1)
            return {"frames": np.stack([image] * 4), "name": "a", "distance": RedMaps(half[..., 0])}

    class RedMaps:
        def __init__(self, half):
            self.half = half

        def read(self, start, target, end):
            return (self.half / 255).astype(np.float16)

    batches = GrainBatches([Red()], data, 2, seed=0)
    for batch in (next(batches) for _ in range(4)):
        assert apart(batch["t"], batch["target"][..., :1] / 255) < 1e-3
        assert batch["frames"].shape == (2, 2, 48, 48, 3)
        assert batch["reference"].shape == (2, 48, 48, 3)
    batches.close()


def test_maps_that_are_not_finite_are_drawn_again_or_filled(mapped):
    class Holes:
        def read(self, start, target, end):
            half = np.full((48, 64), 0.5, np.float16)
            half[:4] = np.nan
            return half

    record = {**opened(mapped)[0], "distance": Holes()}
    data = Data(window=WINDOW, augment=Augment(crop=64), distance=Distance("dis", blur=5))
    sample = pipeline._MakeSample(data).random_map(record, np.random.default_rng(0))
    assert np.isfinite(sample["t"]).all()


def test_what_does_not_fit_is_one_line(mapped, tmp_path, capsys):
    source = sources.open_source(str(mapped), 4)
    with pytest.raises(UserError, match=r"no maps: run `vfi-jax prepare distance .* --teacher raft` first"):
        with_maps(source, mapped, "raft", WINDOW)
    with pytest.raises(UserError, match=r"windows have 4 frames, and data.window 3"):
        with_maps(source, mapped, "dis", Window(frames=3))
    window = dataclasses.replace(opened(mapped)[0]["distance"], size=(96, 96))
    with pytest.raises(UserError, match=r"is 64x48 there, and 48x48 is half of the set's; prepare the maps again$"):
        window.read(0, 1, 2)
    for arguments, message in (
        (["synthetic:4", "--teacher", "dis"], "has no folder for labels"),
        ([str(mapped), "--teacher", "ifrnet"], "an interpolation model, not a flow network"),
        ([str(mapped), "--teacher", "raft"], "weights of raft are not installed"),
        ([str(mapped), "--teacher", "dis", "--frames", "2"], "2 frames: a distance needs three"),
    ):
        assert cli_main.main(["prepare", "distance", *arguments]) != 0
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert message in line


def test_recipes_that_do_not_fit():
    recipe = Train(model="d_ifrnet", steps=1, data=Data(window=WINDOW, augment=Augment(crop=64)))

    def rejected(message, model="d_ifrnet", **distance):
        window = Window() if model == "rife" else WINDOW
        data = dataclasses.replace(recipe.data, distance=Distance(**distance), window=window)
        changed = dataclasses.replace(recipe, model=model, data=data)
        with pytest.raises(UsageError, match=message):
            check(changed, registry.spec_of(model))

    rejected("blur is 7: 0, 5 or 9", blur=7)
    rejected("blur_at is 'later': half, frame, crop is needed", blur_at="later")
    rejected("d_ifrnet sees no reference frame", reference=True)
    rejected("reference=True is needed", model="dr_ifrnet")
    rejected("rife takes no maps", model="rife", maps="dis")


@pytest.mark.parametrize("t", [np.full((32, 40, 1), 1.2), np.full((32, 40, 1), np.nan), np.full((30, 40, 1), 0.5)])
def test_maps_of_another_size_or_range_are_refused(t):
    frame = np.zeros((32, 40, 3), np.uint8)
    with pytest.raises(UserError, match=r"^(a map of )?t (must lie within 0..1|has shape)") as error:
        inference.Interpolator(registry.build("average"), {})(frame, frame, t=t)
    assert "\n" not in str(error.value)


# Editing


def squares():
    """Two masks that overlap, on frames of 48x64."""
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 8:40, 8:32] = masks[1, 8:40, 24:56] = True
    return masks


def test_objects_move_at_their_own_pace():
    first, second = np.full((48, 64, 3), 40, np.uint8), np.full((48, 64, 3), 200, np.uint8)
    masks = squares()
    objects = [editing.Timed(masks[0], (0, 0.5, 1)), editing.Timed(masks[1], (0, 1))]
    interpolate = inference.Interpolator(registry.build("average"), {})
    for t, frame in zip(
        (0.25, 0.75), editing.retimed(interpolate, (first, second), objects, (0.25, 0.75)), strict=True
    ):
        assert (frame[0] == 40).all()  # outside of all masks, beyond the blur
        assert (frame[16:32, 16:20] == 40 + 160 * t).all()
        assert (frame[16:32, 40:48] == 40 + 160 * t).all()


def test_the_order_decides_where_masks_overlap():
    objects = [editing.Timed(mask, curve) for mask, curve in zip(squares(), ((0.2,), (0.8,)), strict=True)]
    for order, wanted in ((objects, 0.2), (objects[::-1], 0.8)):
        assert editing.painted_map(order, 0.5, (48, 64))[24, 28, 0] == pytest.approx(wanted, abs=0.05)


@pytest.fixture
def clip(tmp_path):
    for number, mask in enumerate(squares()):
        save_png(tmp_path / f"{number}.png", np.repeat(np.uint8(255 * mask)[..., None], 3, -1))
    make_clip(tmp_path / "in.mp4", frames=3, size=(64, 48))
    return tmp_path


def edited(folder, objects, *arguments):
    text = objects if isinstance(objects, str) else json.dumps(objects)
    (folder / "objects.json").write_text(text)
    given = [str(folder / "in.mp4"), "-o", str(folder / "out.mp4"), "--objects", str(folder / "objects.json")]
    return cli_main.main(["interpolate", *given, *(arguments or ("--model", "average"))])


def test_objects_of_a_clip(clip, capsys):
    objects = [{"mask": "0.png", "curve": [0, 0]}, {"mask": "1.png", "curve": [1], "frame": 1}]
    assert edited(clip, objects) == 0
    with Reader(clip / "out.mp4") as reader:
        frames = np.stack([frame.image for frame in reader.frames()]).astype(float)
    assert len(frames) == 5
    assert apart(frames[1], frames[0]) < 12  # all stands still
    inside = (slice(14, 34), slice(30, 50))
    assert np.abs(frames[3] - frames[4])[inside].mean() < 6
    assert np.abs(frames[3] - frames[2])[inside].mean() > 12


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ("{", "cannot be read"),
        ([], "is no list of objects"),
        ([{"mask": "0.png"}], "object 0: an object has `mask`, `curve`"),
        ([{"mask": "0.png", "curve": [0, 1.5]}], "a curve is a list of numbers in 0..1, not"),
        ([{"mask": "0.png", "curve": ["fast"]}], "a curve is a list of numbers in 0..1, not"),
        ([{"mask": "absent.png", "curve": [0, 1]}], "absent.png"),
        ([{"mask": "small.png", "curve": [0, 1]}], "the mask is 8x4, and the frames 64x48"),
        ([{"mask": "0.png", "curve": [0, 1], "frame": 2}], "frame 2 has no next one"),
    ],
)
def test_objects_that_do_not_fit_are_one_line(clip, capsys, objects, message):
    save_png(clip / "small.png", np.zeros((4, 8, 3), np.uint8))
    assert edited(clip, objects) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_midpoint_models_cannot_time_objects(clip, capsys):
    interpolate = inference.Interpolator(*vfi_jax.create("cain", groups=1, blocks=1))
    with pytest.raises(UsageError, match="cain cannot time objects: a model of two frames and any time is needed"):
        editing.check_model(interpolate)


def test_scenes_of_the_experiment_speed_up_or_slow_down(monkeypatch):
    """Surfaces keep their first and last places; halfway they have covered 1/2 - k/4 of their way."""
    results = Path(__file__).parent.parent / "results"
    monkeypatch.syspath_prepend(results)  # modules that scripts share
    script = runpy.run_path(str(results / "distance.py"))
    photos = [np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)]
    scene = script["accelerated"](3, 48, photos)
    places = {t: np.stack([layer.motion.matrix(t)[:2, 2] for layer in scene.layers]) for t in (0, 0.5, 1)}
    way, half = places[1] - places[0], places[0.5] - places[0]
    paces = (half * way).sum(-1) / (way * way).sum(-1)
    np.testing.assert_allclose(half, paces[:, None] * way, atol=1e-9)
    assert ((paces > 0.25) & (paces < 0.75)).all()
    assert np.abs(paces - 0.5).max() > 0.05
    maps = distance_maps.projected(scene.flow(0, 0.5), scene.flow(0, 1))
    top = scene.surfaces(0) == len(scene.layers)
    assert np.median(maps[top]) == pytest.approx(paces[-1], abs=0.05)
