"""RAFT against torchvision's module, random weights on both sides, PyTorch in this process."""

import jax
import numpy as np
import pytest
from parity import apart, make_state

import vfi_jax
from vfi_jax.models import registry

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def networks():
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    # Its compiled part is built for CUDA and does not load beside PyTorch for CPUs; RAFT needs none of it.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield pytest.importorskip("torchvision.models.optical_flow")
    library._destroy()


@pytest.mark.parametrize(("name", "theirs", "gain"), [("raft", "raft_large", 0.6), ("raft_small", "raft_small", 0.55)])
@pytest.mark.filterwarnings("ignore")
def test_flow(networks, name, theirs, gain):
    import torch

    reference = getattr(networks, theirs)().eval()
    shapes = {key: list(value.shape) for key, value in reference.state_dict().items()}
    state = make_state(shapes, seed=7, gain=gain)
    reference.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()})
    rng = np.random.default_rng(0)
    frames = np.asarray(jax.image.resize(rng.random((2, 20, 24, 3), np.float32), (2, 136, 152, 3), "cubic").clip(0, 1))
    pair = [torch.from_numpy(2 * frame.transpose(2, 0, 1)[None] - 1) for frame in frames]
    with torch.inference_mode():
        expected = reference(*pair, num_flow_updates=6)[-1].permute(0, 2, 3, 1).numpy()
    model, variables = registry.build(name, iterations=6), vfi_jax.from_torch(name, state)
    assert apart(jax.jit(model.apply)(variables, frames[None]).flow, expected) < 2e-4
