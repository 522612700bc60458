"""Bad weights through every way in: each refuses them in the same words, because one reader checks for all."""

import clips
import numpy as np
import pytest
from eval_program import run_eval, write
from safetensors.numpy import save_file
from test_weight_faults import NAME, OTHERS, SMALL, WRONG, dressed
from tiny_runs import RUN

import vfi_jax
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Pretrained, Train
from vfi_jax.errors import UserError, exit_code
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.training import fit
from vfi_jax.weights.files import write_weights


def spoilt(state, value):
    return {**state, NAME: np.full(24, value)}


def half_of_another(state):
    names = sorted(state)
    return {name: state[name] for name in names[: len(names) // 2]}


ATTACKS = {
    **{f"{name}.pth": lambda path, state, value=value: write_torch(path, spoilt(state, value)) for name, (value, _) in
       WRONG.items()},
    "float16 metadata.safetensors": lambda path, state: write_weights(
        path, spoilt(state, np.float16(np.inf)), {"model": SMALL}
    ),
    "xyz.safetensors": lambda path, state: write_weights(path, state, {"model": SMALL, "channel_order": "xyz"}),
    "banana.safetensors": lambda path, state: write_weights(path, state, {"model": SMALL, "any_time": "banana"}),
    "halved.pth": lambda path, state: write_torch(path, half_of_another(state)),
    "prefixed and spoilt.pth": lambda path, state: write_torch(
        path, dressed(spoilt(state, np.float32(np.nan)), "module._orig_mod.model.")
    ),
    "half prefixed and spoilt.pth": lambda path, state: write_torch(
        path, dressed(spoilt(state, np.float32(np.nan)), "module.", 0.5)
    ),
    "safetensors.pth": lambda path, state: save_file(spoilt(state, np.float32(np.nan)), path),
    "zip.SAFETENSORS": lambda path, state: write_torch(path, spoilt(state, np.float32(np.nan))),
    "no ending": lambda path, state: write_torch(path, spoilt(state, np.float32(np.nan))),
    "another model.pth": lambda path, _: write_torch(path, vfi_jax.to_torch("cain", vfi_jax.create("cain")[1])),
    **{f"{words}.pkl": lambda path, _, words=words: path.write_bytes(OTHERS[words]) for words in OTHERS},
}  # fmt: skip


FAST = ("NaN.pth", "banana.safetensors", "half prefixed and spoilt.pth", "zip.SAFETENSORS", "a git-lfs pointer.pkl")
CASES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ATTACKS]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a video, a benchmark, and good weights to spoil."""
    folder = tmp_path_factory.mktemp("ways")
    clips.make_clip(folder / "in.mp4", frames=3)
    write(folder / "set/0", ("im1", "im2", "im3"), 0)
    return folder, vfi_jax.to_torch(SMALL, vfi_jax.create(SMALL, 1)[1])


def shell(folder, file):
    given = ["--model", SMALL, "--weights", str(file)]
    video, output = str(folder / "in.mp4"), str(folder / "out.mp4")
    yield "interpolate", lambda: cli_main.main(["interpolate", video, "-o", output, *given])
    yield "convert", lambda: cli_main.main(["convert", *given, "-o", str(folder / "out.safetensors")])
    data = [f"--benchmarks=triplets={folder / 'set'}", f"--output={folder / 'out'}"]
    yield "eval.py", lambda: run_eval(f"--models={SMALL}", f"--weights={file}", *data)


@pytest.mark.parametrize("attack", CASES)
def test_every_way_in_says_the_same(place, capsys, attack):
    folder, state = place
    file = folder / attack
    ATTACKS[attack](file, state)
    with pytest.raises(UserError) as loaded:
        vfi_jax.load(SMALL, file)
    code, line = exit_code(loaded.value), " ".join(str(loaded.value).split())
    with pytest.raises(UserError) as trained:
        fit.build(Train(SMALL, init_from=Pretrained(SMALL, str(file)), data=RUN.data), folder / "run")
    assert str(trained.value) == str(loaded.value)
    for way, action in shell(folder, file):
        capsys.readouterr()
        assert action() == code, way
        *notes, last = capsys.readouterr().err.splitlines()
        assert last.partition(": ")[2] == line, way
        assert all(note.startswith("note: ") for note in notes), way
    assert not [path.name for path in folder.iterdir() if path.name.startswith("out") and path.is_file()]
