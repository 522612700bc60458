"""Starts the worker processes of a comparison, with their model and weights."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.compare.adapters import Adapter
from vfi_jax.compare.jobs import ComparisonJob
from vfi_jax.compare.report import OURS, PUBLISHED
from vfi_jax.compare.workers import WorkerError, WorkerProcess
from vfi_jax.models import registry
from vfi_jax.ops import crop

HERE = Path(__file__).parent
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Starts workers for one comparison; `scratch` holds the arrays that are exchanged with them.

    Attributes:
      job: what is compared.
      adapter: the published implementation.
      folder: its checkout; None: an installed package.
      model: our module.
      scratch: a temporary folder with `state.npz`, the weights.
    """

    job: ComparisonJob
    adapter: Adapter
    folder: Path | None
    model: Any
    scratch: Path

    @property
    def inputs(self) -> Path:
        """The file of inputs that workers read."""
        return self.scratch / "inputs.npz"

    def jax(self) -> WorkerProcess:
        """Starts the process with JAX."""
        environment = {
            "JAX_PLATFORMS": self.job.device,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # memory is measured
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent.parent), os.environ.get("PYTHONPATH")))),
        }
        command = [sys.executable, "-m", "vfi_jax.compare.jax_worker"]
        fields = {"channel_order": self.model.channel_order, "any_time": self.model.any_time}
        return self._start("JAX", command, environment, model=self.job.model, fields=fields)

    def torch(self, form: str) -> WorkerProcess:
        """Starts the process with PyTorch, in one of its forms.

        Raises:
          WorkerError: the implementation cannot be run in this form.
        """
        return self._start(
            f"PyTorch ({form})",
            [self.job.python, str(HERE / "torch_worker.py")],
            {},
            network=self.adapter.network,
            arguments=dict(self.adapter.models[self.job.model]),
            repository=str(self.folder or ""),
            package="" if self.adapter.marker else self.adapter.name,
            optional=list(registry.spec_of(self.job.model).training_only),
            form=form,
        )

    def _start(self, name: str, command: list[str], environment: Mapping[str, str], **arguments: Any) -> WorkerProcess:
        job = self.job
        common = {"device": job.device, "precision": job.precision, "threads": job.threads}
        worker = WorkerProcess(name, command, {"OMP_NUM_THREADS": str(job.threads), **environment})
        try:
            worker.about = worker.ask("load", state=str(self.scratch / "state.npz"), **common, **arguments)
        except BaseException:
            worker.close()
            raise
        return worker

    def all(self, stack: contextlib.ExitStack) -> tuple[dict[str, WorkerProcess], dict[str, str]]:
        """Starts ours and every form of the published implementation, and gives them their inputs.

        Args:
          stack: ends the processes.

        Returns:
          The workers by side, and the message of each form that failed.

        Raises:
          WorkerError: ours, or the implementation as published, failed.
        """
        published, failed = {}, {}
        for form in self.job.forms:  # before ours, because most mistakes of users are on this side
            try:
                published[form] = stack.enter_context(self.torch(form))
            except WorkerError as error:
                if form == PUBLISHED:
                    raise
                failed[form] = str(error)
        workers = {OURS: stack.enter_context(self.jax()), **published}
        for worker in workers.values():
            worker.ask("inputs", path=str(self.inputs))
        return workers, failed

    def outputs(self, worker: WorkerProcess, height: int, width: int) -> Arrays:
        """The frame and, where there is one, the flow of a worker, cropped to the size before padding."""
        padding = registry.spec_of(self.job.model).padding
        return {name: crop(array, height, width, padding) for name, array in self._arrays(worker, "outputs").items()}

    def gradients(self, worker: WorkerProcess) -> Arrays:
        """The gradients of a worker, by parameter."""
        return self._arrays(worker, "gradients")

    def _arrays(self, worker: WorkerProcess, order: str) -> dict[str, np.ndarray]:
        path = self.scratch / "answer.npz"
        worker.ask(order, path=str(path))
        with np.load(path) as arrays:
            return dict(arrays)
