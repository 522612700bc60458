"""LPIPS and FloLPIPS with synthetic weights: against PyTorch modules, and by their properties."""

import numpy as np
import pytest
from parity import make_state

import vfi_jax
from vfi_jax.errors import UserError
from vfi_jax.evaluation import perceptual
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import lpips, temporal
from vfi_jax.torch_io.writer import write_torch

ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG = (0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)
VGG = (*VGG, (17, 256, 512), *((i, 512, 512) for i in (19, 21, 24, 26, 28)))
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def states(name):
    """Synthetic weights: the backbone's under torchvision's names, and positive ones for the channels."""
    if name == "alex":
        shapes = {index: (out, into, side, side) for index, (out, into, side) in ALEX.items()}
    else:
        shapes = {index: (out, into, 3, 3) for index, into, out in VGG}
    every = {f"features.{i}.weight": shape for i, shape in shapes.items()}
    every |= {f"features.{i}.bias": shape[:1] for i, shape in shapes.items()}
    lines = {f"lin{i}.model.1.weight": (1, count, 1, 1) for i, count in enumerate(CHANNELS[name])}
    return make_state(every), {key: np.abs(value) for key, value in make_state(lines).items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of AlexNet in the files that users have."""
    found = tmp_path_factory.mktemp("lpips")
    backbone, lines = states("alex")
    write_torch(found / "alexnet-owt-7be5be79.pth", backbone)
    write_torch(found / "alex.pth", lines)
    return found


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 9, 11, 3)).repeat(8, 1).repeat(8, 2)
    return np.uint8(np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255)), np.uint8(truth)


def test_distances(folder, pair):
    params = perceptual.read_params(folder, "alex")
    frame, truth = pair
    assert lpips.lpips("alex", params, truth, truth) == pytest.approx([0, 0], abs=1e-7)
    near, far = (np.asarray(lpips.lpips("alex", params, image, truth)) for image in (frame, 255 - truth))
    assert (near > 0).all()
    assert (far > near).all()
    swapped = np.asarray(lpips.lpips("alex", params, frame[::-1], truth[::-1]))
    assert near == pytest.approx(swapped[::-1], rel=1e-5)
    assert lpips.lpips("alex", params, truth, frame) == pytest.approx(near, rel=1e-5)


def test_flow_weights_pixels(folder, pair):
    """With the same flow everywhere, or none, the distance is LPIPS; flow where frames are equal gives almost none."""
    params = perceptual.read_params(folder, "alex")
    frame, truth = pair
    frame = np.concatenate([frame[:, :, :40], truth[:, :, 40:]], 2)  # equal on the right
    plain = np.asarray(lpips.lpips("alex", params, frame, truth))
    flows = np.zeros((4, *frame.shape[:3], 2), np.float32)
    flows[1] = (3, 4)
    flows[2, :, :, 75:] = 1
    flows[3, :, :, :20] = 1
    none, even, right, left = (
        np.asarray(lpips.flow_weighted_lpips("alex", params, frame, truth, flow)) for flow in flows
    )
    assert none == pytest.approx(plain, rel=1e-5)
    assert even == pytest.approx(plain, rel=1e-5)
    assert (right < 0.2 * plain).all()  # features see beyond their pixel
    assert (left > plain).all()


def test_metrics_of_a_folder(folder, pair, tmp_path):
    (metric,) = perceptual.metrics(folder)
    assert list(metric.function(*pair, pair[1])) == [metric.name] == ["lpips_alex"]
    with pytest.raises(UserError, match="holds no weights of LPIPS: alexnet"):
        perceptual.metrics(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        perceptual.metrics(tmp_path / "nowhere")
    write_torch(tmp_path / "vgg16-397923af.pth", {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    write_torch(tmp_path / "vgg.pth", states("alex")[1])
    with pytest.raises(UserError, match=r"features\.0\.bias is missing"):
        perceptual.metrics(tmp_path)


@pytest.mark.slow
def test_flolpips_with_raft(folder, pair):
    """The distance of equal frames is 0, of others positive."""
    state = vfi_jax.to_torch("raft", vfi_jax.create("raft", seed=0)[1])
    write_torch(folder / perceptual.RAFT_FILE, state)
    (metric,) = (metric for metric in perceptual.metrics(folder) if metric.name == "flolpips_raft")
    large = [np.repeat(np.repeat(images, 2, 1), 2, 2) for images in pair]
    frame, truth = large
    assert metric.function(truth, truth, frame)["flolpips_raft"] == pytest.approx([0, 0], abs=1e-6)
    assert (metric.function(frame, truth, truth)["flolpips_raft"] > 0).all()


def test_flow_distance_of_clips():
    """Clips that move by two and by three pixels per frame differ by one, except at the edges."""
    rng = np.random.default_rng(0)
    wide = np.uint8(255 * rng.random((16, 40))).repeat(8, 0).repeat(8, 1)[..., None].repeat(3, 2)
    slow, fast = ([wide[:, 40 + step * i : 200 + step * i] for i in range(4)] for step in (2, 3))
    assert temporal.flow_distance(slow, slow, dis_flow) == 0
    assert temporal.flow_distance(fast, slow, dis_flow) == pytest.approx(1, abs=0.3)
    assert np.isnan(temporal.flow_distance(slow[:1], slow[:1], dis_flow))


def reference(torch, name, backbone, lines, frame, truth):
    """LPIPS in PyTorch, from its paper and the shapes of its files."""
    nn = torch.nn
    if name == "alex":
        sides = {0: (11, 4, 2), 3: (5, 1, 2), 6: (3, 1, 1), 8: (3, 1, 1), 10: (3, 1, 1)}
        parts = [(i, nn.Conv2d(into, out, *sides[i])) for i, (out, into, _) in ALEX.items()]
        pool, pooled, tapped = nn.MaxPool2d(3, 2), (3, 6), tuple(ALEX)
    else:
        parts = [(i, nn.Conv2d(into, out, 3, 1, 1)) for i, into, out in VGG]
        pool, pooled, tapped = nn.MaxPool2d(2, 2), (5, 10, 17, 24), (2, 7, 14, 21, 28)
    shift, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def taps(images):
        x = torch.as_tensor(images.transpose(0, 3, 1, 2)).float() / 127.5 - 1
        x = (x - shift) / spread
        for index, layer in parts:
            layer.weight.data = torch.as_tensor(backbone[f"features.{index}.weight"])
            layer.bias.data = torch.as_tensor(backbone[f"features.{index}.bias"])
            x = torch.relu(layer(pool(x) if index in pooled else x))
            if index in tapped:
                yield x / (torch.linalg.norm(x, dim=1, keepdim=True) + 1e-10)

    weights = [torch.as_tensor(lines[f"lin{i}.model.1.weight"]) for i in range(5)]
    with torch.inference_mode():
        steps = zip(taps(frame), taps(truth), weights, strict=True)
        maps = [torch.conv2d((a - b) ** 2, weight) for a, b, weight in steps]
    return maps


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["alex", "vgg"])
def test_against_torch(pair, name):
    torch = pytest.importorskip("torch")
    backbone, lines = states(name)
    frame, truth = (np.ascontiguousarray(images[:, :67, :83]) for images in pair)
    maps = reference(torch, name, backbone, lines, frame, truth)
    wanted = sum(each.mean((1, 2, 3)) for each in maps).numpy()
    found = np.asarray(lpips.lpips(name, {**backbone, **lines}, frame, truth))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    flow = np.random.default_rng(1).normal(size=(2, 67, 83, 2)).astype(np.float32)
    weighted = 0
    for each in maps:
        small = torch.nn.functional.interpolate(
            torch.as_tensor(flow.transpose(0, 3, 1, 2)), each.shape[2:], mode="bilinear", align_corners=False
        )
        length = torch.linalg.norm(small, dim=1, keepdim=True)
        weighted += (each * length / length.sum((1, 2, 3), keepdim=True)).sum((1, 2, 3)).numpy()
    found = np.asarray(lpips.flow_weighted_lpips(name, {**backbone, **lines}, frame, truth, flow))
    np.testing.assert_allclose(found, weighted, rtol=1e-5)
