"""The process with JAX: runs one of our models on order, as `torch_worker` runs a published one."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vfi_jax.compare import workers
from vfi_jax.models import registry
from vfi_jax.nn.precision import named
from vfi_jax.weights import load


class JaxWorker:
    """A model, its inputs and its compiled programs; each public method handles an order."""

    def load(
        self, model: str, fields: Mapping[str, Any], state: str, device: str, precision: str, threads: int
    ) -> dict[str, Any]:
        """Builds a model and loads its weights.

        Args:
          model: in MODELS.
          fields: override the variant's fields.
          state: a `.npz` of the reference's names and arrays; those of a frozen flow network begin with `frozen.NAME.`.
          device: "cpu" or "cuda".
          precision: a name in `nn.precision.PRECISIONS`.
          threads: number of threads, for the answer; the process is restricted when it starts.

        Returns:
          JAX's version and the device's name.
        """
        self.precision = named(precision)
        self.model = registry.build(model, dtype=self.precision.dtype, **fields)
        with np.load(state) as arrays:
            self.variables = jax.device_put(_variables(model, dict(arrays)))
        self.is_flow = registry.spec_of(model).kind == "flow"
        self.forward = jax.jit(self._frame)
        self.backward = jax.jit(jax.grad(self._loss))
        self.both = jax.jit(self._frame_and_flow)
        name = jax.devices()[0].device_kind if device == "cuda" else f"CPU, threads: {threads}"
        return {"jax": jax.__version__, "device": name}

    def _output(self, variables: Mapping[str, Any], frames: Any, t: Any) -> Any:
        with self.precision.scope():
            return self.model.apply(variables, frames) if self.is_flow else self.model.apply(variables, frames, t)

    def _frame(self, variables: Mapping[str, Any], frames: Any, t: Any) -> Any:
        out = self._output(variables, frames, t)
        return out.flow if self.is_flow else out.frame

    def _frame_and_flow(self, variables: Mapping[str, Any], frames: Any, t: Any) -> tuple[Any, Any]:
        out = self._output(variables, frames, t)
        if self.is_flow:
            return out.flow, out.flow
        flows = out.flows or out.forward_flows
        return out.frame, flows[-1] if flows else None

    def _loss(self, params: Any, rest: Mapping[str, Any], frames: Any, target: Any, t: Any) -> Any:
        frame = self._frame({**rest, "params": params}, frames, t)
        return ((frame.astype(np.float32) - target) ** 2).mean()

    def inputs(self, path: str) -> None:
        """Reads `frames` `[b, n, h, w, 3]`, `target` `[b, h, w, c]` and `t` from a `.npz`."""
        with np.load(path) as arrays:
            self.frames, self.target = jax.device_put((arrays["frames"], arrays["target"]))
            self.t = jax.device_put(np.full((len(arrays["frames"]), 1, 1, 1), arrays["t"], np.float32))

    def _gradients(self) -> Any:
        rest = {name: tree for name, tree in self.variables.items() if name != "params"}
        return self.backward(self.variables["params"], rest, self.frames, self.target, self.t)

    def seconds(self, backward: bool) -> float:
        """Runs once, forward or with gradients; returns the seconds it took."""
        run: Callable[[], Any] = functools.partial(self.forward, self.variables, self.frames, self.t)
        start = time.perf_counter()
        jax.block_until_ready(self._gradients() if backward else run())
        return time.perf_counter() - start

    def memory(self) -> int:
        """Peak memory in bytes: of the GPU, else of this process."""
        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else workers.peak_memory()

    def outputs(self, path: str) -> None:
        """Writes `frame` `[b, h, w, c]` and, where there is one, `flow` to a `.npz`."""
        frame, flow = self.both(self.variables, self.frames, self.t)
        outputs = {"frame": frame} if flow is None else {"frame": frame, "flow": flow}
        np.savez(path, **{name: np.asarray(array, np.float32) for name, array in outputs.items()})

    def gradients(self, path: str) -> None:
        """Writes the gradient of the mean squared error against `target`, by parameter, to a `.npz`."""
        gradients = jax.tree.map(np.asarray, self._gradients())
        np.savez(path, **load.to_torch(self.model.variant, {**self.variables, "params": gradients}))


def _variables(model: str, state: dict[str, np.ndarray]) -> dict[str, Any]:
    flow_networks: dict[str, dict[str, np.ndarray]] = {}
    for name in [name for name in state if name.startswith("frozen.")]:
        _, flow_network, inner = name.split(".", 2)
        flow_networks.setdefault(flow_network, {})[inner] = state.pop(name)
    return load.from_torch(model, state, flow_networks)


def main() -> None:
    """Serves orders."""
    worker = JaxWorker()
    orders: Sequence[Callable[..., Any]] = (
        worker.load, worker.inputs, worker.seconds, worker.memory, worker.outputs, worker.gradients
    )  # fmt: skip
    workers.serve({handler.__name__: handler for handler in orders})


if __name__ == "__main__":
    # Before JAX starts its threads, one per processor that it sees.
    workers.limit_threads(int(os.environ["OMP_NUM_THREADS"]))
    main()
