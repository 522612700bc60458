"""`vfi-jax interpolate`: a video with more frames per second."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfi_jax.cli import common
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import interrupts
from vfi_jax.video.options import Options, flag_of

if TYPE_CHECKING:
    from vfi_jax.inference.editing import Timed
    from vfi_jax.video.decode import VideoInfo

PRECISIONS = ("float32", "default", "bfloat16")  # as in `nn.precision`, which takes long to import
PICTURES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".exr", ".ppm", ".pgm", ".heic", ".avif")
)


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `interpolate` to the commands of the shell."""
    command = commands.add_parser("interpolate", help="increase the frame rate of a video")
    command.add_argument("input", type=common.local_path, help="any video that FFmpeg reads")
    command.add_argument(
        "-o", "--output", type=common.local_path, required=True, metavar="FILE", help=".mp4, .mov, .mkv or .webm"
    )
    for entry in dataclasses.fields(Options):
        add_field(command, entry)
    command.add_argument(
        "--objects",
        type=common.local_path,
        metavar="FILE",
        help="a JSON file of masks and curves: objects that move each at its own pace (all alike)",
    )
    choice = command.add_mutually_exclusive_group()
    common.add_model(choice, default=common.MODEL)
    choice.add_argument(
        "--fast", dest="model", action="store_const", const=common.FAST, help=f"the same as --model {common.FAST}"
    )
    common.add_weights(command)
    common.add_step(command)
    common.add_frozen(command)
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="of convolutions and products (%(default)s)",
    )
    common.add_json(command)
    command.set_defaults(run=run)


def add_field(command: argparse.ArgumentParser, entry: dataclasses.Field) -> None:
    """Adds the flag of a field of `Options`, which parses and checks its text."""
    about: dict[str, Any] = {"dest": entry.name, "default": entry.default, "help": entry.metadata["help"]}
    if isinstance(entry.default, bool):
        about["action"] = "store_true"
    else:
        about["metavar"], about["choices"] = entry.metadata["metavar"], entry.metadata["choices"] or None
    command.add_argument(flag_of(entry), **about)


def run(options: argparse.Namespace) -> None:
    """Writes the interpolated video.

    Raises:
      UserError, UsageError: see `video.interpolate.check`, `load` and `Interpolator`.
    """
    from vfi_jax.inference import Interpolator, editing, iterate_reference
    from vfi_jax.models import registry
    from vfi_jax.runs.selection import parse_step
    from vfi_jax.video import interpolate as video
    from vfi_jax.video.timeline import check_midpoints
    from vfi_jax.weights import flow_network
    from vfi_jax.weights.load import load

    registry.check_kind(options.model, "interpolation")
    asked = Options(**{entry.name: getattr(options, entry.name) for entry in dataclasses.fields(Options)})
    num_frames = registry.spec_of(options.model).num_frames
    if not registry.spec_of(options.model).any_time:
        check_midpoints(asked, options.model, num_frames)
    if options.objects and options.start is not None:
        raise UsageError("--objects and --from exclude each other: frames of objects count from the clip's first")
    frozen, step = flow_network.frozen_files(options.frozen), parse_step(options.step)
    # The input comes first: nobody should fetch weights to learn of a typo in a file name.
    if options.input.suffix.lower() in PICTURES and options.input.is_file():
        raise UserError(f"{options.input} is one picture: there is nothing between; a video is needed")
    job = video.check(options.input, options.output, asked)
    for line in (*(f"note: {note}" for note in job.notes), *job.losses):
        print(line, file=sys.stderr)
    objects = _objects(options.objects, job.info, job.survey.frames) if options.objects else {}
    model, variables = load(options.model, options.weights, frozen, step=step)
    flow_network.require(model, variables)
    if objects and registry.spec_of(options.model).sees_reference:
        model = iterate_reference(model, editing.STEPS)
    interpolator = Interpolator(model, variables, precision=options.precision)
    if not interpolator.model.any_time:
        check_midpoints(asked, options.model, num_frames)
    if objects:
        editing.check_model(interpolator)
    between = editing.between_with(interpolator, objects) if objects else interpolator.between
    with interrupts.cleanup_on_terminate("vfi-jax"), common.progress(job.total) as progress:
        summary = video.interpolate(job, between, num_frames=interpolator.spec.num_frames, progress=progress)
    for note in summary.notes[len(job.notes) :]:
        print(f"note: {note}", file=sys.stderr)
    model_name = interpolator.model.variant
    line = f"{options.output}: {summary.frames} frames from {summary.source_frames}, by {model_name}"
    about = {"source": str(options.input), "target": str(options.output), "model": model_name}
    common.finish(line, about | summary.as_json(), options.json)


def _objects(path: Path, info: VideoInfo, frames: int) -> dict[int, list[Timed]]:
    """Reads the objects of a clip.

    Raises:
      UserError: see `editing.read_objects`; or a mask of another size, or of a frame that has no next one.
    """
    from vfi_jax.inference import editing

    objects = editing.read_objects(path)
    for timed in objects.values():
        editing.painted_map(timed, 0.0, (info.height, info.width))
    last = max(objects)
    if last >= frames - 1:
        raise UserError(f"{path}: frame {last} has no next one, {info.path} has {frames} frames (from 0)")
    return objects
