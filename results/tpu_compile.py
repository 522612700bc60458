"""Ahead-of-time compilation for accelerators that are not attached: compiled for TPU pods, lowered for GPUs.

    pip install 'vfi_jax[tpu]'
    python results/tpu_compile.py -o results

writes `tpu_compile.csv` and `tpu_compile.md`. Existing rows are kept, so an interrupted run continues. Models of the
same network with other weights share its rows. `--models a,b` and `--topologies v5e:8x8` choose what to compile; a
compilation that takes longer than `--minutes 10` is left out. `--effort 0` is the compiler's default: it takes up to
three times as long and gives other fusions, bytes and memory. Compare bytes and memory only between rows of one
precision and effort.

Compiled are the forward pass and the training step of every model, with the crop and the batch size (rounded up to a
multiple of the chips) of its recipe in `configs/`, or of a recipe for the same network. Bytes and operations are the
compiler's estimates.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import math
import os
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # libtpu would query which TPU the machine has

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vfi_jax.config import Optimizer
from vfi_jax.errors import UserError
from vfi_jax.models import MODELS, registry
from vfi_jax.nn.precision import PRECISIONS
from vfi_jax.system import sharding
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown
from vfi_jax.training.optimizer import make_optimizer
from vfi_jax.training.state import init_state
from vfi_jax.training.step import make_step

HBM = {"v5e": 16.0, "v6e": 32.0}  # GB per chip, by the maker's data sheet
TOPOLOGIES = ("v5e:8x8", "v6e:4x4")
CUDA = "cuda"  # lowered, not compiled
FORWARD, TRAIN = "forward", "train"
CONFIGS = Path(__file__).parent.parent / "configs"
CROP, BATCH = 256, 64  # for networks without a recipe
EMA, LEARNING_RATE = 0.998, 1e-4
PRECISION = "default"  # on TPUs a float32 convolution is six products, which take three times as long to compile
EFFORT = -1.0  # of the compiler, from -1 to 1; the least halves the time on v6e and changes bytes, not operations
LABEL_CHANNELS = {"flow": 4, "flows": 8}


@dataclasses.dataclass(frozen=True)
class Row:
    """A program and its figures.

    Attributes:
      model: in MODELS.
      program: "forward" or "train".
      target: topology, or "cuda".
      jax: version.
      batch: batch size over all chips.
      crop: height and width of the frames, pixels.
      precision: a name in `nn.precision.PRECISIONS`.
      effort: the compiler's effort, from -1 to 1.
      seconds: time to compile, or to lower for "cuda".
      gb: memory needed per chip, 10^9 bytes.
      fits: whether the chip has that much.
      all_reduces: all-reduce operations in the program.
      all_gathers: all-gather operations in the program.
      float64: arrays of float64 in the program.
      callbacks: callbacks to the host.
      gflop: 10^9 operations per chip and step, by the compiler's cost model.
      gbytes: 10^9 bytes accessed per chip and step, by the compiler's cost model.
      note: why there are no figures.
    """

    model: str
    program: str
    target: str
    jax: str
    batch: int
    crop: int
    precision: str = PRECISION
    effort: float = EFFORT
    seconds: float | None = None
    gb: float | None = None
    fits: bool | None = None
    all_reduces: int | None = None
    all_gathers: int | None = None
    float64: int | None = None
    callbacks: int | None = None
    gflop: float | None = None
    gbytes: float | None = None
    note: str = ""


def programs(name: str) -> tuple[str, ...]:
    """The programs of a model: for flow networks the forward pass only, for methods without parameters none."""
    spec = MODELS[name]
    if not spec.params:
        return ()
    return (FORWARD, TRAIN) if spec.kind == "interpolation" else (FORWARD,)


def compiled(row: Row) -> Row:
    """Compiles the program of a row for all chips of its topology.

    Raises:
      UserError: no libtpu, or no such topology.
    """
    try:
        chips = topologies.get_topology_desc(row.target, platform="tpu").devices
    except Exception as error:  # the plugin raises many kinds
        raise UserError(
            f"cannot compile for {row.target}: {str(error).splitlines()[0]}; pip install 'vfi_jax[tpu]'"
        ) from None
    lowered = _lowered(row, Mesh(np.array(chips), ("data",), axis_types=(AxisType.Auto,)))
    begun = time.perf_counter()
    program = lowered.compile(compiler_options={"exec_time_optimization_effort": row.effort})
    seconds, memory, costs = time.perf_counter() - begun, program.memory_analysis(), program.cost_analysis()
    sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    gb = (sizes + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes) / 1e9
    return dataclasses.replace(
        row,
        seconds=round(seconds, 1),
        gb=round(gb, 3),
        fits=gb < HBM[row.target.split(":")[0]],
        gflop=round(costs["flops"] / 1e9, 1),
        gbytes=round(costs["bytes accessed"] / 1e9, 2),
        **count_operations(program.as_text()),
    )


def lowered_for_cuda(row: Row) -> Row:
    """Lowers the program of a row for one GPU, which need not be there."""
    begun = time.perf_counter()
    exported = jax.export.export(_jitted(row, sharding.data_mesh()), platforms=[CUDA])(*_shapes(row))
    seconds, text = time.perf_counter() - begun, exported.mlir_module()
    counts = count_operations(text)
    return dataclasses.replace(row, seconds=round(seconds, 1), float64=counts["float64"], callbacks=counts["callbacks"])


def planned(name: str, program: str, target: str, precision: str = PRECISION, effort: float = EFFORT) -> Row:
    """The row of a program before it is compiled."""
    (crop, batch), chips = recipe(name), _chips(target)
    multiple = MODELS[name].padding.multiple
    batch = math.ceil((batch if chips > 1 else 1) / chips) * chips
    return Row(name, program, target, jax.__version__, batch, math.ceil(crop / multiple) * multiple, precision, effort)


def recipe(name: str) -> tuple[int, int]:
    """Crop and batch size of a model's recipe in `configs/`, or of one for the same network or an extension of it."""
    recipes = {}
    for path in sorted(CONFIGS.glob("*.py")):
        config = runpy.run_path(str(path))["get_config"]()
        recipes[config.model] = (config.data.augment.crop, config.batch_size)
    network = MODELS[name].module
    same_network = (sizes for other, sizes in recipes.items() if issubclass(MODELS[other].module, network))
    return recipes.get(name) or next(same_network, (CROP, BATCH))


def count_operations(text: str) -> dict[str, int]:
    """Counts collectives, float64 arrays and callbacks in a program as text: HLO or StableHLO."""
    calls = {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in ("all-reduce", "all-gather")}
    return {
        "all_reduces": calls["all-reduce"],
        "all_gathers": calls["all-gather"],
        "float64": len(re.findall(r"\bf64\[|xf64>|<f64>", text)),
        "callbacks": len(re.findall(r"callback|host_compute|outfeed", text)),
    }


def _lowered(row: Row, mesh: Mesh) -> Any:
    return _jitted(row, mesh).lower(*_shapes(row))


def _jitted(row: Row, mesh: Mesh) -> Any:
    spec, model = MODELS[row.model], registry.build(row.model)
    if row.program == TRAIN:
        return make_step(
            spec,
            model,
            _transform(),
            mesh,
            loss_config=spec.loss_config,
            extra_losses={},
            ema=EMA,
            seed=0,
            precision=PRECISIONS[row.precision],
        )
    arguments = () if spec.kind == "flow" else (0.5,)

    def forward(variables: Any, frames: Any) -> Any:
        with PRECISIONS[row.precision].scope():
            out = model.apply(variables, frames.astype(jnp.float32) / 255, *arguments)
        return out.flow if spec.kind == "flow" else out.frame

    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    return jax.jit(forward, in_shardings=(replicated, split), out_shardings=split)


def _shapes(row: Row) -> tuple[Any, Any]:
    """Shapes of the arguments: variables and frames, or state and batch."""
    spec, variables = MODELS[row.model], registry.shapes(row.model)
    frames = jax.ShapeDtypeStruct((row.batch, spec.num_frames, row.crop, row.crop, 3), jnp.uint8)
    if row.program == FORWARD:
        return variables, frames
    state = jax.eval_shape(lambda given: init_state(given, _transform(), ema=True), variables)
    return state, batch_shapes(row.model, row.batch, row.crop)


def batch_shapes(name: str, batch: int, crop: int) -> dict[str, Any]:
    """The batch of a training step as `jax.ShapeDtypeStruct`s, with labels where the model's recipe has any."""
    spec = MODELS[name]
    labels = () if "teacher_frame" in spec.needs else spec.needs  # the recipes have no teacher
    return {
        "frames": jax.ShapeDtypeStruct((batch, spec.num_frames, crop, crop, 3), jnp.uint8),
        "target": jax.ShapeDtypeStruct((batch, crop, crop, 3), jnp.uint8),
        "t": jax.ShapeDtypeStruct((batch, 1, 1, 1), jnp.float32),
        **{label: jax.ShapeDtypeStruct((batch, crop, crop, LABEL_CHANNELS[label]), jnp.float16) for label in labels},
    }


def _transform() -> Any:
    return make_optimizer(Optimizer(rate=LEARNING_RATE, clip_norm=1.0), 1000, 100)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles missing programs, each in its own process, and writes the tables."""
    parser = argparse.ArgumentParser(prog="python results/tpu_compile.py", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--models", default=",".join(MODELS), help="names, separated by commas (default: all)")
    parser.add_argument(
        "--topologies", default=",".join((CUDA, *TOPOLOGIES)), help="names, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=10, help="limit for one compilation (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=("float32", "default"), default=PRECISION, help="of products (%(default)s)"
    )
    parser.add_argument(
        "--effort", type=float, default=EFFORT, help="the compiler's effort, from -1 to 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--one", nargs=3, metavar=("MODEL", "PROGRAM", "TARGET"), help="compile one program and print its row as JSON"
    )
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(dataclasses.asdict(_complete(planned(*options.one, options.precision, options.effort)))))
        return 0
    rows = _read(options.output / "tpu_compile.csv")
    names = sorted(options.models.split(","), key=lambda name: MODELS[name].params)  # small ones first
    pairs = itertools.product(options.topologies.split(","), names)
    for target, name, program in [(*pair, program) for pair in pairs for program in programs(pair[1])]:
        if (name, program, target) in {(row["model"], row["program"], row["target"]) for row in rows}:
            continue
        row = dataclasses.asdict(planned(name, program, target, options.precision, options.effort))
        twin = next((other for other in rows if _is_same_program(other, row)), None)
        rows.append({**twin, "model": name} if twin else _run_process(row, 60 * options.minutes))
        _write(options.output, rows)
        print(rows[-1], flush=True)
    return 0


def _complete(row: Row) -> Row:
    return lowered_for_cuda(row) if row.target == CUDA else compiled(row)


def _is_same_program(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a row is of the wanted program, for a model that differs in its weights alone."""
    one, other = MODELS[row["model"]], MODELS[wanted["model"]]
    networks = [(spec.module, spec.config, spec.loss_config) for spec in (one, other)]
    settings = ("program", "target", "jax", "batch", "crop", "precision", "effort")
    return networks[0] == networks[1] and all(str(row[name]) == str(wanted[name]) for name in settings)


def _run_process(row: dict[str, Any], seconds: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", row["model"], row["program"], row["target"]]
    command += ["--precision", row["precision"], "--effort", str(row["effort"])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {**row, "note": f"left out: compiles for more than {seconds / 60:g} minutes"}
    if done.returncode:
        return {**row, "note": "failed: " + (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def _chips(target: str) -> int:
    return 1 if target == CUDA else math.prod(int(side) for side in target.split(":")[1].split("x"))


def _read(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def _write(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    names = [field.name for field in dataclasses.fields(Row)]
    with written_whole(folder / "tpu_compile.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    with written_whole(folder / "tpu_compile.md") as partial:
        partial.write_text(f"{markdown([names, *cells])}\n\nMade by `python results/tpu_compile.py -o results`.\n")


if __name__ == "__main__":
    sys.exit(main())
