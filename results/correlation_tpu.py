"""Cost of the look-ups' forms on TPUs by the compiler's cost model: `python results/correlation_tpu.py` (`[tpu]`).

Writes `correlation_tpu.csv`: bytes accessed and temporary memory of one look-up of AMT-S in both directions, with the
products it needs, on one v5e chip; estimates, not measurements. "gathered" is the form for CPUs and GPUs, "dense" that
for TPUs. On demand, bytes are those of one row times the number of rows.
"""

import csv
import os
from pathlib import Path

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vfi_jax.ops import correlation

FEATURES, RADIUS, FACTOR = 84, 3, 8
EFFORT = -1.0  # of the compiler, as in tpu_compile.py
SIZES = ((256, 448), (720, 1280), (1088, 1920), (2160, 3840))
LARGEST_VOLUME = 1088  # rows of a frame; the two volumes of a larger one do not fit on the chip
FORMS = {
    ("volume", "gathered"): correlation.look_up,
    ("volume", "dense"): correlation.look_up_densely,
    ("on demand", "gathered"): correlation.correlate,
    ("on demand", "dense"): correlation.correlate_densely,
}


def look_up(form, of, first, second, ahead, back):
    """The correlations around both centers."""
    pairs = ((first, second, ahead), (second, first, back))
    if form == "volume":
        pairs = tuple((correlation.correlation_volume(*pair[:2]), pair[2]) for pair in pairs)
    return jnp.concatenate([of(*pair, RADIUS) for pair in pairs], -1)


def main() -> None:
    """A row for each size and form."""
    chip = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices[:1]
    where = NamedSharding(Mesh(np.array(chip), ("data",)), PartitionSpec())
    with (Path(__file__).parent / "correlation_tpu.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("width", "height", "products", "form", "gb_accessed", "gb_temporary", "jax"))
        for height, width in SIZES:
            size = (1, height // FACTOR, width // FACTOR)
            inputs = [jax.ShapeDtypeStruct((*size, c), jnp.float32) for c in (FEATURES, FEATURES, 2, 2)]
            for (products, form), of in FORMS.items():
                if products == "volume" and height > LARGEST_VOLUME:
                    continue
                jitted = jax.jit(lambda *given, p=products, of=of: look_up(p, of, *given), in_shardings=where)
                compiled = jitted.lower(*inputs).compile(compiler_options={"exec_time_optimization_effort": EFFORT})
                times = 1 if products == "volume" else size[1]
                accessed = times * compiled.cost_analysis()["bytes accessed"] / 1e9
                temporary = compiled.memory_analysis().temp_size_in_bytes / 1e9
                figures = (f"{accessed:.1f}", f"{temporary:.2f}")
                rows.writerow((width, height, products, form, *figures, jax.__version__))
                file.flush()


if __name__ == "__main__":
    main()
