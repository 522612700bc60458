"""The process with torch: runs a published implementation on order.

It is run as a file by any Python that has torch, so it imports only its neighbors, by their bare names.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_networks
import workers
from torch import Tensor


class TorchWorker:
    """A network, its inputs and the form it is run in; each public method handles an order."""

    network: torch_networks.Network
    run: Callable[[Sequence[Tensor], float], Tensor]
    frames: list[Tensor]
    target: Tensor
    t: float

    def load(
        self,
        network: str,
        arguments: Mapping[str, Any],
        repository: str,
        package: str,
        state: str,
        optional: Sequence[str],
        form: str,
        device: str,
        precision: str,
        threads: int,
    ) -> dict[str, Any]:
        """Builds a network, loads its weights and puts it into a form.

        Args:
          network: a class of `torch_networks`, or FILE:CLASS.
          arguments: arguments of its constructor.
          repository: the checkout's folder, "" for an installed package.
          package: that package's name, else "".
          state: a `.npz` of names and arrays; those of a frozen flow network begin with `frozen.NAME.`.
          optional: patterns of names that `state` may lack.
          form: "published", "channels_last", or "compiled" (that too, through `torch.compile`).
          device: "cpu" or "cuda".
          precision: "float32" or "bfloat16".
          threads: on CPUs.

        Returns:
          Versions, and the device in words.
        """
        _prepare(threads)
        # This file's own folder, which Python puts first, gives way to the checkout.
        sys.path[0] = repository or sys.path[0]
        self.device, self.precision = torch.device(device), precision
        self.layout = torch.contiguous_format if form == "published" else torch.channels_last
        self.network = _class_of(network)(**arguments)
        _load(self.network, state, optional)
        for module in (self.network.module, self.network.flow_network):
            if module is not None:
                module.to(self.device, memory_format=self.layout).eval()
        self.run = torch.compile(self.network.frame) if form == "compiled" else self.network.frame
        name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
        return {"torch": torch.__version__, "device": name, "package": package and importlib.metadata.version(package)}

    def inputs(self, path: str) -> None:
        """Reads `frames` `[b, n, h, w, 3]`, `target` `[b, h, w, c]` and `t` from a `.npz`."""
        with np.load(path) as arrays:
            self.frames = [self._tensor(arrays["frames"][:, index]) for index in range(arrays["frames"].shape[1])]
            self.target, self.t = self._tensor(arrays["target"]), float(arrays["t"])

    def _tensor(self, images: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return tensor.to(self.device).contiguous(memory_format=self.layout)

    def seconds(self, backward: bool) -> float:
        """Runs once, forward or with gradients; returns the seconds it took."""
        self.network.module.zero_grad(set_to_none=True)
        self._wait()
        start = time.perf_counter()
        if backward:
            self._gradients()
        else:
            with torch.no_grad():
                self._frame(self.run)
        self._wait()
        return time.perf_counter() - start

    def _frame(self, run: Callable[[Sequence[Tensor], float], Tensor]) -> Tensor:
        with self._precision():
            return run(self.frames, self.t)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        half = torch.autocast(self.device.type, torch.bfloat16)
        return half if self.precision == "bfloat16" else contextlib.nullcontext()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _gradients(self) -> None:
        (self._frame(self.run).float() - self.target).square().mean().backward()

    def memory(self) -> int:
        """Peak memory in bytes: of the GPU, else of this process."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else workers.peak_memory()

    def outputs(self, path: str) -> None:
        """Writes `frame` `[b, h, w, c]` and, where there is one, `flow` to a `.npz`."""
        with torch.no_grad():
            frame = self._frame(self.run)
            flow = self._frame(self.network.flow)
        outputs = {"frame": frame} if flow is None else {"frame": frame, "flow": flow}
        np.savez(path, **{name: tensor.float().permute(0, 2, 3, 1).cpu().numpy() for name, tensor in outputs.items()})

    def gradients(self, path: str) -> None:
        """Writes the gradient of the mean squared error against `target`, by parameter, to a `.npz`."""
        self.network.module.zero_grad(set_to_none=True)
        self._gradients()
        gradients = {name: p.grad for name, p in self.network.module.named_parameters() if p.grad is not None}
        np.savez(path, **{name: tensor.float().cpu().contiguous().numpy() for name, tensor in gradients.items()})


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    # Full float32 products, as on the other side; bfloat16 is set by autocast.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    warnings.filterwarnings("ignore")  # of other people's code


def _class_of(network: str) -> Callable[..., torch_networks.Network]:
    file, _, name = network.rpartition(":")
    if not file:
        return getattr(torch_networks, name)
    spec = importlib.util.spec_from_file_location("network_of_file", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def _load(network: torch_networks.Network, path: str, optional: Sequence[str]) -> None:
    with np.load(path) as arrays:
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    frozen = [name for name in state if name.startswith("frozen.")]
    flow_network = {name.split(".", 2)[2]: state.pop(name) for name in frozen}
    for module, weights in ((network.module, state), (network.flow_network, flow_network)):
        if module is not None:
            missing, unknown = module.load_state_dict(weights, strict=False)
            counters = (*optional, r"num_batches_tracked$")
            missing = [name for name in missing if not any(re.search(pattern, name) for pattern in counters)]
            if missing or unknown:
                shown = ", ".join([f"-{name}" for name in missing] + [f"+{name}" for name in unknown][:6])
                raise ValueError(f"the weights do not fit this implementation: {shown}")


def main() -> None:
    """Serves orders."""
    worker = TorchWorker()
    orders = (worker.load, worker.inputs, worker.seconds, worker.memory, worker.outputs, worker.gradients)
    workers.serve({handler.__name__: handler for handler in orders})


if __name__ == "__main__":
    # Before torch computes anything; torch's own pools read the same variable.
    workers.limit_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    sys.path[0] = str(Path(__file__).parent)
    main()
