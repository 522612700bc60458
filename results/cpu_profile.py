"""Profiles models on CPUs: `python results/cpu_profile.py [MODEL...]`. Writes `cpu_profile.md`.

From XLA's trace: milliseconds of forward passes, and the shares of convolutions, of sampling (gathers), of moving
(pads, concatenations, copies, transposes) and of the rest. Concurrent operations count in full, so shares are of the
sum of their times. Beside them the roofline's two bounds: the milliseconds that the model's multiply-adds take at the
rate of a large matrix product (convolutions by tiles need fewer), and that the program's bytes, by XLA's cost model,
take at the rate of a large copy (caches save some). GFLOP/s are those of the convolutions alone. A second table has the
rates of a large product, a large copy and such convolutions in XLA and PyTorch (`--torch-python FILE`: a Python with
torch).
"""

import argparse
import collections
import datetime
import gzip
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfi_jax.models import MODELS, registry
from vfi_jax.system import flops, machine
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown

NAMES = ("rife_v4_25", "rife", "ifrnet_s", "ifrnet", "ifrnet_l", "cain", "dbvi_8x")
SIZE, TRACED, TIMED = (256, 448), 5, 9
KINDS = ("convolutions", "sampling", "moving", "rest")
# Height, width, channels in and out of 3x3 convolutions that these models have.
CONVOLUTIONS = ((32, 64, 192, 192), (64, 112, 90, 90), (64, 112, 144, 144), (128, 224, 96, 96))
PRODUCT = 2048
COPY_BYTES = 1 << 28  # more than caches hold
TORCH = """
import statistics, time, torch

def seconds(once):
    taken = []
    for _ in range({timed}):
        begun = time.perf_counter()
        once()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])

torch.set_grad_enabled(False)
side = torch.ones({product}, {product})
print(2 * {product} ** 3 / seconds(lambda: side @ side) / 1e9)
for height, width, channels, features in {convolutions}:
    x, kernel = torch.ones(1, channels, height, width), torch.ones(features, channels, 3, 3)
    x, kernel = (a.contiguous(memory_format=torch.channels_last) for a in (x, kernel))
    flop = 18 * height * width * channels * features
    print(flop / seconds(lambda: torch.nn.functional.conv2d(x, kernel, padding=1)) / 1e9)
"""


def main() -> None:
    """Measures; prints and writes a table of models and one of rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL")
    parser.add_argument("--torch-python", metavar="FILE")
    options = parser.parse_args()
    product, copy, convolutions = _product(), _copy(), _convolutions()
    rows = [_of(name, product, copy) for name in options.models]
    head = ("model", "ms", "GFLOP", "ms by arithmetic", "GB moved", "ms by bytes")
    head += (*(f"{kind}, share" for kind in KINDS), "GFLOP/s of convolutions")
    about = f"{datetime.date.today()}, {machine.processor()} ({machine.processors()} processors), jax {jax.__version__}"
    theirs = _torch(options.torch_python) if options.torch_python else [""] * (1 + len(CONVOLUTIONS))
    rates = [("what", "XLA", "PyTorch"), (f"product of {PRODUCT}x{PRODUCT}, GFLOP/s", f"{product:.0f}", theirs[0])]
    for (height, width, channels, features), ours, other in zip(CONVOLUTIONS, convolutions, theirs[1:], strict=True):
        what = f"3x3, {channels} to {features} channels, {height}x{width}, GFLOP/s"
        rates.append((what, f"{ours:.0f}", other))
    rates.append(("copy, GB/s read and written", f"{copy:.1f}", ""))
    text = [f"{about}; `python results/cpu_profile.py`; {SIZE[1]}x{SIZE[0]}", "", markdown([head, *rows]), ""]
    text.append(markdown(rates))
    with written_whole(Path(__file__).parent / "cpu_profile.md") as partial:
        partial.write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _of(name: str, product: float, copy: float) -> tuple[str, ...]:
    model, variables = registry.create(name)
    spec, rng = MODELS[name], np.random.default_rng(0)
    sides = (-(-side // spec.padding.multiple) * spec.padding.multiple for side in SIZE)
    frames = jnp.asarray(rng.random((1, spec.num_frames, *sides, 3)), jnp.float32)

    def forward(variables: Any, frames: Any) -> Any:
        return model.apply(variables, frames, 0.5).frame

    flop = 2 * flops.multiply_adds(forward, variables, frames)
    compiled = jax.jit(forward).lower(variables, frames).compile()
    seconds = _seconds(lambda: compiled(variables, frames))
    spent = _spent(lambda: compiled(variables, frames), kinds_of_instructions(compiled.as_text()))
    moved = compiled.cost_analysis()["bytes accessed"]
    roof = f"{flop / product / 1e6:.0f}", f"{moved / 1e9:.2f}", f"{moved / copy / 1e6:.0f}"
    shares = (f"{spent[kind] / sum(spent.values()):.2f}" for kind in KINDS)
    rate = flop / spent["convolutions"] / 1e9
    return name, f"{1e3 * seconds:.0f}", f"{flop / 1e9:.0f}", *roof, *shares, f"{rate:.0f}"


def _seconds(once: Callable[[], Any]) -> float:
    taken = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        jax.block_until_ready(once())
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def _spent(once: Callable[[], Any], kinds: Mapping[str, str]) -> collections.Counter[str]:
    """Seconds per run by kind of operation."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(TRACED):
                jax.block_until_ready(once())
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    spent = collections.Counter(dict.fromkeys(KINDS, 0.0))
    for event in events:
        if event.get("ph") == "X" and event["name"] in kinds:
            spent[kinds[event["name"]]] += event["dur"] / TRACED / 1e6
    return spent


def kinds_of_instructions(program: str) -> dict[str, str]:
    """The kind of each instruction of a program, by the operations in the computation that it calls."""
    bodies = dict(re.findall(r"^%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", program, re.M | re.S))
    kinds = {}
    for line in program.splitlines():
        if instruction := re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = ", line):
            called = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", line)
            if not re.search(r" (while|conditional|call)\(", line):  # the trace has their bodies
                kinds[instruction[1]] = _kind(bodies.get(called[1], "") if called else line)
    return kinds


def _kind(text: str) -> str:
    operations = set(re.findall(r" ([a-z][a-z\-]*)\(", text))
    if operations & {"convolution", "dot"}:
        return "convolutions"
    if operations & {"gather", "scatter"}:
        return "sampling"
    return "moving" if operations & {"pad", "concatenate", "copy", "transpose", "reverse"} else "rest"


def _product() -> float:
    """GFLOP/s of a matrix product."""
    side = jnp.ones((PRODUCT, PRODUCT))
    compiled = jax.jit(jnp.matmul).lower(side, side).compile()
    return 2 * PRODUCT**3 / _seconds(lambda: compiled(side, side)) / 1e9


def _copy() -> float:
    """GB/s read and written, in place, so that the system need not map new pages."""
    numbers = jnp.ones(COPY_BYTES // 4)
    compiled = jax.jit(lambda x: x + 1, donate_argnums=0).lower(numbers).compile()

    def once() -> Any:
        nonlocal numbers
        numbers = compiled(numbers)
        return numbers

    return 2 * COPY_BYTES / _seconds(once) / 1e9


def _convolutions() -> list[float]:
    """GFLOP/s of each convolution."""
    rates = []
    for height, width, channels, features in CONVOLUTIONS:
        x, kernel = jnp.ones((1, height, width, channels)), jnp.ones((3, 3, channels, features))
        compiled = jax.jit(_convolved).lower(x, kernel).compile()
        seconds = _seconds(lambda compiled=compiled, x=x, kernel=kernel: compiled(x, kernel))
        rates.append(18 * height * width * channels * features / seconds / 1e9)
    return rates


def _convolved(x: Any, kernel: Any) -> Any:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _torch(python: str) -> list[str]:
    """GFLOP/s of the product and of each convolution in PyTorch."""
    code = TORCH.format(timed=TIMED, product=PRODUCT, convolutions=CONVOLUTIONS)
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return [f"{float(word):.0f}" for word in done.stdout.split()]


if __name__ == "__main__":
    main()
