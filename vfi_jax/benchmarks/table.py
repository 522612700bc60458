"""BENCHMARKS: every protocol by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from vfi_jax.benchmarks import clips, generated, layouts
from vfi_jax.benchmarks.protocol import Benchmark
from vfi_jax.types import UsageError

TRIPLETS, CLIPS = "triplets", "clips"
KINDS = f"{TRIPLETS}=FOLDER, {CLIPS}=FOLDER"
MIDDLEBURY_SIZE = (480, 640)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            Benchmark("vimeo90k", "test list, 448x256", layouts.vimeo_triplet),
            Benchmark(
                "vimeo_septuplet",
                "test list, 448x256: im3 and im5 to im4, with im1 and im7 for models of four frames",
                layouts.vimeo_septuplet,
            ),
            Benchmark("ucf101", "the DVF test set, 256x256", layouts.ucf101),
            Benchmark(
                "middlebury", '"other", on a canvas of 640x480 zeros', layouts.middlebury, canvas=MIDDLEBURY_SIZE
            ),
            Benchmark("middlebury_native", '"other", at its own sizes', layouts.middlebury),
            *generated.GENERATED,
        )
    }
)


def named(name: str) -> Benchmark:
    """A row of `BENCHMARKS`, or one over a folder, whatever the data folder.

    Args:
      name: in BENCHMARKS; `triplets=FOLDER` (Vimeo90K's layout); `clips=FOLDER` (video files).

    Raises:
      UsageError: no such benchmark.
    """
    kind, _, folder = name.partition("=")
    where = Path(folder)
    if kind == CLIPS and folder:
        return clips.benchmark(where)
    if kind == TRIPLETS and folder:
        shown = where.resolve().name
        return Benchmark(shown, f"triplets of {shown}", lambda _: layouts.in_vimeo_layout(where))
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark is called {name!r}; there are: {', '.join(BENCHMARKS)}, {KINDS}")
    return BENCHMARKS[name]


def variant(benchmark: Benchmark, name: str, protocol: str, **settings: object) -> Benchmark:
    """The same set under another protocol."""
    return dataclasses.replace(benchmark, name=name, protocol=protocol, **settings)
