"""The process with JAX: a model of ours that computes on order, as `theirs` does."""

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
from vfi_jax.weights import load as load_


class Ours:
    """What the handlers share: the model, its inputs and its compiled programs."""

    def load(
        self, model: str, fields: Mapping[str, Any], state: str, device: str, precision: str, threads: int
    ) -> dict[str, Any]:
        """Builds a model and gives it its weights.

        Args:
          model: in MODELS.
          fields: of the module, in the place of the variant's.
          state: a `.npz` of the reference's names and arrays; those of a frozen flow network begin with `frozen.HELPER.`.
          device: "cpu" or "cuda".
          precision: a name in `nn.precision.PRECISIONS`.
          threads: for the answer; the process is limited from its start.

        Returns:
          Versions, and the device in words.
        """
        self.precision = named(precision)
        self.model = registry.build(model, dtype=self.precision.dtype, **fields)
        with np.load(state) as arrays:
            self.variables = jax.device_put(_variables(model, dict(arrays)))
        self.spec, self.flow_network = registry.spec_of(model), registry.spec_of(model).kind == "flow"
        self.forward = jax.jit(self._frame)
        self.backward = jax.jit(jax.grad(self._loss))
        self.both = jax.jit(self._frame_and_flow)
        found = jax.devices()[0]
        name = found.device_kind if device == "cuda" else f"CPU, threads: {threads}"
        return {"jax": jax.__version__, "device": name}

    def _output(self, variables: Mapping[str, Any], frames: Any, t: Any) -> Any:
        with self.precision.scope():
            return self.model.apply(variables, frames) if self.flow_network else self.model.apply(variables, frames, t)

    def _frame(self, variables: Mapping[str, Any], frames: Any, t: Any) -> Any:
        out = self._output(variables, frames, t)
        return out.flow if self.flow_network else out.frame

    def _frame_and_flow(self, variables: Mapping[str, Any], frames: Any, t: Any) -> tuple[Any, Any]:
        out = self._output(variables, frames, t)
        if self.flow_network:
            return out.flow, out.flow
        return out.frame, out.flows[-1] if out.flows else None

    def _loss(self, params: Any, rest: Mapping[str, Any], frames: Any, target: Any, t: Any) -> Any:
        made = self._frame({**rest, "params": params}, frames, t)
        return ((made.astype(np.float32) - target) ** 2).mean()

    def inputs(self, path: str) -> None:
        """Takes `frames` `[b, n, h, w, 3]`, `target` `[b, h, w, c]` and `t` from a `.npz`."""
        with np.load(path) as arrays:
            self.frames, self.target = jax.device_put((arrays["frames"], arrays["target"]))
            self.t = jax.device_put(np.full((len(arrays["frames"]), 1, 1, 1), arrays["t"], np.float32))

    def _gradients(self) -> Any:
        rest = {name: tree for name, tree in self.variables.items() if name != "params"}
        return self.backward(self.variables["params"], rest, self.frames, self.target, self.t)

    def seconds(self, backward: bool) -> float:
        """Runs once, forward or with gradients, and returns how long that took."""
        run: Callable[[], Any] = functools.partial(self.forward, self.variables, self.frames, self.t)
        start = time.perf_counter()
        jax.block_until_ready(self._gradients() if backward else run())
        return time.perf_counter() - start

    def memory(self) -> int:
        """Peak bytes of this process, or on the GPU."""
        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else workers.peak_memory()

    def outputs(self, path: str) -> None:
        """Writes `frame` `[b, h, w, c]` and, where there is one, `flow` to a `.npz`."""
        frame, flow = self.both(self.variables, self.frames, self.t)
        found = {"frame": frame} if flow is None else {"frame": frame, "flow": flow}
        np.savez(path, **{name: np.asarray(array, np.float32) for name, array in found.items()})

    def gradients(self, path: str) -> None:
        """Writes the gradient of the mean squared difference from `target`, by parameter, to a `.npz`."""
        found = jax.tree.map(np.asarray, self._gradients())
        np.savez(path, **load_.to_torch(self.model.variant, {**self.variables, "params": found}))


def _variables(model: str, state: dict[str, np.ndarray]) -> dict[str, Any]:
    flow_networks: dict[str, dict[str, np.ndarray]] = {}
    for name in [name for name in state if name.startswith("frozen.")]:
        _, flow_network, inner = name.split(".", 2)
        flow_networks.setdefault(flow_network, {})[inner] = state.pop(name)
    return load_.from_torch(model, state, flow_networks)


def main() -> None:
    """Serves until the orders end."""
    side = Ours()
    orders: Sequence[Callable[..., Any]] = (
        side.load, side.inputs, side.seconds, side.memory, side.outputs, side.gradients
    )  # fmt: skip
    workers.serve({handler.__name__: handler for handler in orders})


if __name__ == "__main__":
    # Before JAX starts its threads, one for each processor that it sees.
    workers.limit_threads(int(os.environ["OMP_NUM_THREADS"]))
    main()
