"""The time of the predicted frame in every form that models and wrappers take, and rows of a batch one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart

import vfi_jax
from vfi_jax import inference, ops
from vfi_jax.errors import UserError
from vfi_jax.models import registry
from vfi_jax.system import sharding

SIDE, TIMES = 64, np.float32([0.25, 0.75])
RNG = np.random.default_rng(0)
FORMS = {
    "number": lambda times: float(times[0]),
    "[b]": lambda times: times,
    "[b, 1, 1, 1]": lambda times: times.reshape(-1, 1, 1, 1),
    "map": lambda times: np.broadcast_to(times.reshape(-1, 1, 1, 1), (len(times), SIDE, SIDE, 1)),
    "map of all": lambda times: np.full((SIDE, SIDE, 1), times[0]),
}
AMT = {"widths": (4, 4, 4, 4), "encoder_widths": (4, 4, 4), "encoder_features": 4, "update_widths": ((4,), 2, 4, 4)}
V4 = {"widths": (8, 8), "level_scales": (2, 1)}
EMA = {"width": 4, "depths": (2, 2)}
CSPA = {"width": 4, "groups": 2, "extraction_blocks": 1, "alignment_blocks": 1, "reconstruction_blocks": 1}
# Every family, and what differs in how t reaches the network; narrow, where fields allow it.
NARROW = {
    "average": ("average", {}),
    "dis": ("dis", {}),
    "cain": ("cain", {"groups": 1, "blocks": 1}),
    "cspa": ("cspa", CSPA),
    "dbvi": ("dbvi_8x", {"steps": 1}),
    "vfit": ("vfit_s", {"widths": (4, 8, 8, 16, 16), "blocks": (1, 1, 1, 1), "features": 8}),
    "ema_vfi": ("ema_vfi_small_t", EMA),
    "ema_vfi of half the size": ("ema_vfi_small_t", {**EMA, "scale": 0.5}),
    "ema_vfi with a reference": ("dr_ema_vfi", EMA),
    "ifrnet": ("ifrnet_s", {"widths": (4, 4, 4, 4)}),
    "ifrnet of half the size": ("ifrnet_s", {"widths": (4, 4, 4, 4), "scale": 0.5}),
    "amt": ("amt_s", AMT),
    "amt with a reference": ("dr_amt_s", AMT),
    "ugsp": ("ugsp", {"widths": (4, 4, 4, 4)}),
    "rife": ("rife", {}),
    "rife_m": ("rife_m", {}),
    "dr_ifrnet": ("dr_ifrnet", {"widths": (4, 4, 4, 4)}),
    "rife_v4 in both directions": ("rife_v4_6", {**V4, "ensemble": True}),
    "rife_v4 of twice the size": ("rife_v4_25", {**V4, "scale": 2.0}),
    "rife_lap": ("rife_lap", {**V4, "refinement": (4, 8, 1)}),
    "rife_lap_s": ("rife_lap_s", {**V4, "refinement": (4, 8, 1)}),
}
DEAR = ("amt with a reference", "ema_vfi of half the size", "ema_vfi with a reference", "rife_m")
QUICK = ("average", "dis", "cain", "ifrnet", "rife_lap_s")


def frames_of(name, side=SIDE):
    count = registry.spec_of(name).num_frames
    return np.random.default_rng(3).random((2, count, side, side, 3), np.float32)


def predict(model, variables, frames, t):
    """The frame; DBVI gets flows, so that it needs no flow network."""
    flows = {"flows": jnp.ones((len(frames), *frames.shape[2:4], 8))} if "dbvi" in model.variant else {}
    return model.apply(variables, frames, t, **flows).frame


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in NARROW]
)
def test_every_form_is_taken(case):
    """By every model; traced only."""
    name, fields = NARROW[case]
    model, frames = registry.build(name, **fields), frames_of(name)
    variables = registry.module_shapes(registry.spec_of(name), model)
    for form in (FORMS["[b]"], FORMS["map"]) if case in QUICK else FORMS.values():
        frame = jax.eval_shape(functools.partial(predict, model), variables, frames, form(TIMES))
        assert frame.shape == (2, SIDE, SIDE, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, spec in vfi_jax.MODELS.items() if spec.kind == "interpolation"])
def test_every_form_is_taken_by_every_variant(name):
    spec, model = registry.spec_of(name), registry.build(name)
    side = max(SIDE, spec.padding.multiple)
    variables, frames = registry.module_shapes(spec, model), frames_of(name, side)
    for t in (TIMES, np.full((2, side, side, 1), TIMES[0])):
        frame = jax.eval_shape(functools.partial(predict, model), variables, frames, t)
        assert frame.shape == frames.shape[:1] + frames.shape[2:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.long) if case in DEAR else case for case in NARROW]
)
def test_forms_agree_and_rows_are_alone(case):
    name, fields = NARROW[case]
    model, variables = registry.create(name, **fields)
    frames, apply = frames_of(name), jax.jit(functools.partial(predict, model))
    wanted = apply(variables, frames, FORMS["[b, 1, 1, 1]"](TIMES))
    assert apart(apply(variables, frames, FORMS["map"](TIMES)), wanted) < 1e-5
    # Each form is a program to compile, and `time_array` makes [b, 1, 1, 1] or a map of all before a network sees it.
    for form in ("number", "[b]", "map of all") if case in QUICK else ():
        assert apart(apply(variables, frames, FORMS[form](TIMES))[0], wanted[0]) < 1e-5
    for row, t in enumerate(TIMES):
        alone = apply(variables, frames[row : row + 1], np.full((1, 1, 1, 1), t))
        # One row is another program: AMT differs by 3e-5 there, and by no bit within one program.
        assert apart(alone[0], wanted[row]) < (1e-4 if "amt" in case else 1e-5)
    if vfi_jax.MODELS[name].any_time and case != "dbvi":  # whose fresh weights give the mean color at any time
        assert apart(wanted, apply(variables, frames, np.full((2, 1, 1, 1), 0.5, np.float32))) > 1e-6


@functools.cache
def wrapped(name):
    """The average of two frames in a wrapper; its frame at t is `(1 - t) frame_0 + t frame_1`."""
    model, mesh = registry.build("average"), sharding.data_mesh()
    return {
        "flip_ensemble": inference.flip_ensemble(model),
        "recursive": inference.recursive(model),
        "data_parallel": inference.data_parallel(model, mesh),
        "all of them": inference.data_parallel(inference.flip_ensemble(inference.recursive(model)), mesh),
    }[name]


MAP = RNG.choice(np.float32([0.125, 0.5, 0.75]), (2, SIDE, SIDE, 1))


@pytest.mark.parametrize("name", ["flip_ensemble", "recursive", "data_parallel", "all of them"])
@pytest.mark.parametrize("t", [*(form(TIMES) for form in FORMS.values()), MAP], ids=[*FORMS, "map of three times"])
def test_wrappers_take_every_form(name, t):
    frames, model = frames_of("average"), wrapped(name)
    time = np.reshape(t, (2, 1, 1, 1)) if np.shape(t) == (2,) else t
    frame = jax.jit(lambda frames, t: model.apply({}, frames, t).frame)(frames, t)
    assert apart(frame, (1 - time) * frames[:, 0] + time * frames[:, 1]) < 1e-6


def test_recursion_through_a_map_and_padding():
    """Of an odd size; each pixel is that of the frame at its own time."""
    frames = frames_of("average")[:, :, :33, :47]
    interpolate = inference.Interpolator(wrapped("recursive"), {})
    times = MAP[:, :33, :47]
    out = interpolate(frames[:, 0], frames[:, 1], t=times)
    assert apart(out, (1 - times) * frames[:, 0] + times * frames[:, 1]) < 1e-6


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 2, 1, 1), (3, 1, 1, 1), (2, 32, 32, 1), (64, 32, 1), (64, 64, 2)])
def test_other_shapes_are_refused_in_one_line(shape):
    message = r"^t has shape \(.*\): it is a number, one per sample \(2,\), or a map \(2, 64, 64, 1\)$"
    with pytest.raises(UserError, match=message):
        ops.time_map(np.full(shape, 0.5), frames_of("average"))
