"""`vfi-jax flow`: optical flow between two pictures."""

from __future__ import annotations

import argparse

from vfi_jax.cli import common
from vfi_jax.errors import UserError

DIS = "dis"  # as in `inference.flow`, which takes long to import


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `flow` to the commands of the shell."""
    command = commands.add_parser("flow", help="optical flow between two pictures, as a picture or a file")
    command.add_argument("first", type=common.local_path, help="a PNG or JPEG")
    command.add_argument("second", type=common.local_path, help="another one of the same size")
    command.add_argument("-o", "--output", type=common.local_path, required=True, metavar="FILE", help=".png or .flo")
    command.add_argument("--model", default=DIS, metavar="NAME", help="a flow network, or dis: OpenCV's (%(default)s)")
    common.add_weights(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the flow and prints its largest length.

    Raises:
      UserError: the pictures cannot be read or differ in size, the target cannot be written, no weights.
      UsageError: no such flow network, weights for DIS, another ending.
    """
    import numpy as np

    from vfi_jax.data.images import load_image, to_uint8
    from vfi_jax.inference.flow import check_target, estimator, write_flow

    check_target(options.output)
    estimate = estimator(options.model, options.weights)
    first, second = (to_uint8(load_image(path)) for path in (options.first, options.second))
    if first.shape != second.shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (first, second))
        raise UserError(f"{options.first} and {options.second} differ in size ({sizes})")
    flow = estimate(first, second)
    write_flow(options.output, flow)
    print(f"{options.output}: by {options.model}, longest {np.linalg.norm(flow, axis=-1).max():.1f} pixels")
