"""Cost of the warp's forms on TPUs by the compiler's cost model: `python results/warp_tpu.py` (needs `vfi_jax[tpu]`).

Writes `warp_tpu.csv`: bytes accessed and temporary memory of a warp of 8 images of 256x448 on one v5e chip, and of its
gradients; estimates, not measurements. "taps" is a gather for each of the four neighbors, "packed" the single gather in
use.
"""

import csv
import os
import sys
from importlib import import_module
from pathlib import Path
from unittest import mock

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vfi_jax.ops import warp

warping = import_module("vfi_jax.ops.warp")
FORMS = {"taps": warping._neighbors, "packed": warping._packed_neighbors}
IMAGES, SIZE = 8, (256, 448)


def gradients(image, flow, seed):
    """Gradients of image and flow."""
    return jax.vjp(warp, image, flow)[1](seed)


def main() -> None:
    """A row for each form, direction and number of channels."""
    chip = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices[:1]
    where = NamedSharding(Mesh(np.array(chip), ("data",)), PartitionSpec("data"))
    with (Path(__file__).parent / "warp_tpu.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("channels", "form", "program", "gb_accessed", "gb_temporary", "jax"))
        for channels in map(int, sys.argv[1:] or (3, 64)):
            image, flow = (jax.ShapeDtypeStruct((IMAGES, *SIZE, c), jnp.float32) for c in (channels, 2))
            for form, neighbors in FORMS.items():
                for program, function, arguments in (
                    ("forward", lambda *given: warp(*given), (image, flow)),
                    ("gradients", lambda *given: gradients(*given), (image, flow, image)),
                ):
                    with mock.patch.object(warping, "_packed_neighbors", neighbors):
                        compiled = jax.jit(function, in_shardings=where).lower(*arguments).compile()
                    accessed = compiled.cost_analysis()["bytes accessed"] / 1e9
                    temporary = compiled.memory_analysis().temp_size_in_bytes / 1e9
                    rows.writerow((channels, form, program, f"{accessed:.1f}", f"{temporary:.2f}", jax.__version__))
                    file.flush()


if __name__ == "__main__":
    main()
