"""What takes the time of models on CPUs: `python results/cpu_profile.py [MODEL...]`. Writes `cpu_profile.md`.

Of XLA's own trace: milliseconds of forward passes, and the shares of convolutions, of what samples (gathers), of what
moves numbers (pads, concatenations, copies, transposes) and of the rest. Operations that run at once count in full,
so shares are of their sum. GFLOP/s are those of the convolutions alone; below, what the machine reaches in a large
product and in such convolutions, by XLA and, where it is installed, PyTorch.
"""

import collections
import datetime
import gzip
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfi_jax import cost, machine, zoo
from vfi_jax.files import written_whole
from vfi_jax.models import MODELS
from vfi_jax.tables import markdown

NAMES = ("rife_v4_25", "rife", "ifrnet_s", "ifrnet", "ifrnet_l", "cain")
SIZE, TRACED, TIMED = (256, 448), 5, 9
KINDS = ("convolutions", "sampling", "moving", "rest")
# Height, width, channels in and out of 3x3 convolutions that these models have.
CONVOLUTIONS = ((32, 64, 192, 192), (64, 112, 90, 90), (64, 112, 144, 144), (128, 224, 96, 96))
PRODUCT = 2048


def main() -> None:
    """A table of models, and one of convolutions."""
    rows = [_of(name) for name in sys.argv[1:] or NAMES]
    head = ("model", "ms", "GFLOP", *(f"{kind}, share" for kind in KINDS), "GFLOP/s of convolutions")
    found = machine.environment()
    command = " ".join(["python results/cpu_profile.py", *sys.argv[1:]])
    about = f"{datetime.date.today()}, {machine.processors()} processors, jax {found['jax']}; `{command}`"
    rates = [("what", "XLA, GFLOP/s", "PyTorch, GFLOP/s"), *_rates()]
    text = [about, "", markdown([head, *rows]), "", markdown(rates)]
    with written_whole(Path(__file__).parent / "cpu_profile.md") as partial:
        partial.write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _of(name: str) -> tuple[str, ...]:
    model, variables = zoo.create(name)
    spec, rng = MODELS[name], np.random.default_rng(0)
    sides = (-(-side // spec.padding.multiple) * spec.padding.multiple for side in SIZE)
    frames = jnp.asarray(rng.random((1, spec.num_frames, *sides, 3)), jnp.float32)

    def forward(variables: Any, frames: Any) -> Any:
        return model.apply(variables, frames, 0.5).frame

    flop = 2 * cost.multiply_adds(forward, variables, frames)
    compiled = jax.jit(forward).lower(variables, frames).compile()
    seconds = _seconds(lambda: compiled(variables, frames))
    spent = _spent(lambda: compiled(variables, frames), _kinds(compiled.as_text()))
    shares = (f"{spent[kind] / sum(spent.values()):.2f}" for kind in KINDS)
    rate = flop / spent["convolutions"] / 1e9
    return name, f"{1e3 * seconds:.0f}", f"{flop / 1e9:.0f}", *shares, f"{rate:.0f}"


def _seconds(once: Callable[[], Any]) -> float:
    taken = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        jax.block_until_ready(once())
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def _spent(once: Callable[[], Any], kinds: Mapping[str, str]) -> collections.Counter[str]:
    """Seconds a run by kind."""
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


def _kinds(program: str) -> dict[str, str]:
    """Instructions of a program to kinds, by what the computations that they call hold."""
    bodies = dict(re.findall(r"^%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", program, re.M | re.S))
    kinds = {}
    for line in program.splitlines():
        if instruction := re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = ", line):
            called = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", line)
            if not re.search(r" (while|conditional|call)\(", line):  # their bodies are traced
                kinds[instruction[1]] = _kind(bodies.get(called[1], "") if called else line)
    return kinds


def _kind(text: str) -> str:
    operations = set(re.findall(r" ([a-z][a-z\-]*)\(", text))
    if operations & {"convolution", "dot"}:
        return "convolutions"
    if operations & {"gather", "scatter"}:
        return "sampling"
    return "moving" if operations & {"pad", "concatenate", "copy", "transpose", "reverse"} else "rest"


def _rates() -> list[tuple[str, ...]]:
    side = jnp.ones((PRODUCT, PRODUCT))
    product = jax.jit(jnp.matmul).lower(side, side).compile()
    rows = [(f"product of {PRODUCT}x{PRODUCT}", 2 * PRODUCT**3, lambda: product(side, side), _torch_product)]
    for shape in CONVOLUTIONS:
        height, width, channels, features = shape
        x, kernel = jnp.ones((1, height, width, channels)), jnp.ones((3, 3, channels, features))
        made = jax.jit(_convolved).lower(x, kernel).compile()
        label = f"3x3, {channels} to {features} channels, {height}x{width}"
        flop = 18 * height * width * channels * features
        rows.append((label, flop, lambda made=made, x=x, k=kernel: made(x, k), lambda s=shape: _torch_convolution(*s)))
    return [(label, f"{flop / _seconds(ours) / 1e9:.0f}", _rate(flop, theirs)) for label, flop, ours, theirs in rows]


def _convolved(x: Any, kernel: Any) -> Any:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _rate(flop: float, made: Callable[[], Callable[[], Any]]) -> str:
    try:
        return f"{flop / _seconds(made()) / 1e9:.0f}"
    except ImportError:
        return ""


def _torch_product() -> Callable[[], Any]:
    import torch

    side = torch.ones(PRODUCT, PRODUCT)
    return lambda: (side @ side) is None


def _torch_convolution(height: int, width: int, channels: int, features: int) -> Callable[[], Any]:
    import torch

    x, kernel = torch.ones(1, channels, height, width), torch.ones(features, channels, 3, 3)
    x, kernel = (a.contiguous(memory_format=torch.channels_last) for a in (x, kernel))
    return lambda: torch.nn.functional.conv2d(x, kernel, padding=1) is None


if __name__ == "__main__":
    main()
