"""`vfi-jax interpolate`: a video with more frames per second."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfi_jax.cli import common
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import interrupts
from vfi_jax.video.options import Options
from vfi_jax.video.values import flag_of

if TYPE_CHECKING:
    from vfi_jax.inference import Interpolator
    from vfi_jax.inference.editing import Timed
    from vfi_jax.video.clips import Clips
    from vfi_jax.video.coding.decode import VideoInfo

PRECISIONS = ("float32", "default", "bfloat16")  # as in `nn.precision`, which takes long to import


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `interpolate` to the commands of the shell."""
    command = commands.add_parser("interpolate", help="increase the frame rate of a video")
    _add_paths(command)
    for entry in dataclasses.fields(Options):
        add_field(command, entry)
    command.add_argument(
        "--objects",
        type=common.local_path,
        metavar="FILE",
        help="a JSON file of masks and curves: objects that move each at its own pace (all alike)",
    )
    command.add_argument(
        "--regions",
        type=common.local_path,
        metavar="FOLDER",
        help="region maps of the frames, by their numbers, for weights that see them (none)",
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
    shown = "write NAME.preview.png beside the output: new frames of all the clip, and a gap before and after"
    command.add_argument("--preview", action="store_true", help=shown)
    common.add_json(command)
    command.set_defaults(run=run)


def _add_paths(command: argparse.ArgumentParser) -> None:
    """Adds the names of what is read and written."""
    command.add_argument(
        "input",
        type=common.local_path,
        nargs="+",
        metavar="INPUT",
        help="a video, a folder of pictures or of clips, a pattern such as in/%%04d.png, two pictures, or - for y4m",
    )
    command.add_argument(
        "-o",
        "--output",
        type=common.local_path,
        required=True,
        metavar="OUTPUT",
        help=".mp4, .mov, .mkv, .webm, .avi, .ts, .gif, .apng, .webp; out/%%06d.png or a folder; or - for y4m",
    )


def add_field(command: argparse.ArgumentParser, entry: dataclasses.Field) -> None:
    """Adds the flag of a field of `Options`, which parses and checks its text."""
    about: dict[str, Any] = {"dest": entry.name, "default": entry.default, "help": entry.metadata["help"]}
    if isinstance(entry.default, bool):
        about["action"] = "store_true"
    else:
        about["metavar"], about["choices"] = entry.metadata["metavar"], entry.metadata["choices"] or None
    command.add_argument(flag_of(entry), **about)


def run(options: argparse.Namespace) -> None:
    """Writes the interpolated video, or those of a folder.

    Raises:
      UserError, UsageError: see `video.interpolate.check`, `load` and `Interpolator`; and UserError if a clip failed.
    """
    asked = Options(**{entry.name: getattr(options, entry.name) for entry in dataclasses.fields(Options)})
    _check(options, asked)
    from vfi_jax.video import clips  # FFmpeg, which takes long to import

    source = options.input[0] if len(options.input) == 1 else tuple(options.input)
    if isinstance(source, Path) and clips.are_clips(source):
        _run_folder(clips.find(source, options.output), options, asked)
    else:
        line, about = _run_one(source, options.output, options, asked, functools.cache(lambda: _load(options, asked)))
        common.finish(line, about, options.json, takes_stdout=str(options.output) != "-")


def _check(options: argparse.Namespace, asked: Options) -> None:
    """Checks, from the arguments alone, that the model makes what is asked."""
    from vfi_jax.models import registry
    from vfi_jax.video.timeline import check_midpoints

    registry.check_kind(options.model, "interpolation")
    if not registry.spec_of(options.model).any_time:
        check_midpoints(asked, options.model, registry.spec_of(options.model).num_frames)
    if options.objects and options.start is not None:
        raise UsageError("--objects and --from exclude each other: frames of objects count from the clip's first")
    if options.regions and (options.objects or options.start is not None or asked.loop):
        raise UsageError("--regions excludes --objects, --from and --loop: maps count from the clip's first frame")
    if str(options.output) == "-" and options.json == "-":
        raise UsageError("-o - and --json - exclude each other: standard output holds the frames")


def _load(options: argparse.Namespace, asked: Options) -> Interpolator:
    """Loads the model."""
    from vfi_jax.inference import Interpolator, editing, iterate_reference, regions
    from vfi_jax.models import registry
    from vfi_jax.runs.selection import parse_step
    from vfi_jax.video.timeline import check_midpoints
    from vfi_jax.weights import flow_network
    from vfi_jax.weights.load import load

    frozen, step = flow_network.frozen_files(options.frozen), parse_step(options.step)
    model, variables = load(options.model, options.weights, frozen, step=step)
    flow_network.require(model, variables)
    if options.objects and registry.spec_of(options.model).sees_reference:
        model = iterate_reference(model, editing.STEPS)
    interpolator = Interpolator(model, variables, precision=options.precision)
    if not interpolator.model.any_time:
        check_midpoints(asked, options.model, registry.spec_of(options.model).num_frames)
    if options.objects:
        editing.check_model(interpolator)
    if options.regions:
        regions.check_model(interpolator)
    return interpolator


def _run_one(
    source: Path | tuple[Path, ...],
    target: Path,
    options: argparse.Namespace,
    asked: Options,
    model: Callable[[], Interpolator],
) -> tuple[str, dict[str, Any]]:
    """Does one clip; returns a line about it, and the same for programs."""
    from vfi_jax.inference import editing, regions
    from vfi_jax.video import interpolate as video
    from vfi_jax.video.preview import Preview, path_of

    shown = path_of(target, overwrite=asked.overwrite) if options.preview else None
    preview = Preview()
    # The input comes first: nobody should fetch weights to learn of a typo in a file name.
    job = video.check(source, target, asked)
    for line in (*(f"note: {note}" for note in job.notes), *job.losses):
        print(line, file=sys.stderr)
    objects = _objects(options.objects, job.info, job.survey.frames) if options.objects else {}
    maps = _maps(options.regions, source, job.info, job.survey.frames) if options.regions else {}
    interpolator = model().with_extra(int(job.has_opacity))
    between = editing.between_with(interpolator, objects) if objects else interpolator.between
    between = regions.between_with(interpolator, maps) if options.regions else between
    with interrupts.cleanup_on_terminate("vfi-jax"), common.progress(job.total) as progress:
        watch, key = preview.add if shown else None, _key(options, interpolator)
        count = interpolator.spec.num_frames
        summary = video.interpolate(job, between, num_frames=count, progress=progress, watch=watch, key=key)
    for note in summary.notes[len(job.notes) :]:
        print(f"note: {note}", file=sys.stderr)
    if shown:
        preview.write(shown)
        print(f"note: {shown} shows the outcome", file=sys.stderr)
    model_name = interpolator.model.variant
    line = f"{target}: {summary.frames} frames from {summary.source_frames}, by {model_name}"
    return line, {"source": _shown(source), "target": str(target), "model": model_name} | summary.as_json() | (
        {"preview": str(shown)} if shown else {}
    )


def _key(options: argparse.Namespace, interpolator: Interpolator) -> dict[str, str]:
    """Returns what new frames depend on, by name; a run with the same goes on where another one ended."""
    from vfi_jax.system.files import sha256_of
    from vfi_jax.video.segments import fingerprint

    objects = {"objects": sha256_of(options.objects)} if options.objects else {}
    maps = {"regions": fingerprint.listing(sorted(options.regions.iterdir()))} if options.regions else {}
    return interpolator.identity() | objects | maps


def _shown(source: Path | tuple[Path, ...]) -> str | list[str]:
    return str(source) if isinstance(source, Path) else [str(path) for path in source]


def _run_folder(found: Clips, options: argparse.Namespace, asked: Options) -> None:
    """Does the clips of a folder; those that fail do not keep the others from being done.

    Raises:
      UserError: at the end, if one failed.
    """
    from vfi_jax.video import clips

    for name in ("objects", "regions"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for one clip, not for a folder of them")
    print(f"note: {found.note}", file=sys.stderr)
    common.make_folder(options.output)
    model = functools.cache(lambda: _load(options, asked))

    def work(source: Path, target: Path) -> dict[str, Any]:
        line, about = _run_one(source, target, options, asked, model)
        print(line, file=sys.stderr)
        return about

    outcomes = clips.process(found, work, overwrite=asked.overwrite)
    counts = [f"{sum(one.result == result for one in outcomes)} {result}" for result in clips.RESULTS]
    line = f"{options.output}: {len(outcomes)} clips, {', '.join(counts)}"
    common.finish(line, [outcome.as_json() for outcome in outcomes], options.json)
    failed = [outcome for outcome in outcomes if outcome.result == clips.FAILED]
    for outcome in failed:
        print(f"failed: {outcome.error}", file=sys.stderr)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(outcomes)} clips failed: {', '.join(one.source.name for one in failed)}"
        )


def _objects(path: Path, info: VideoInfo, frames: int | None) -> dict[int, list[Timed]]:
    """Reads the objects of a clip.

    Raises:
      UserError: see `editing.read_objects`; or a mask of another size, or of a frame that has no next one.
    """
    from vfi_jax.inference import editing

    objects = editing.read_objects(path)
    for timed in objects.values():
        editing.painted_map(timed, 0.0, (info.height, info.width))
    last = max(objects)
    if frames is not None and last >= frames - 1:
        raise UserError(f"{path}: frame {last} has no next one, {info.path} has {frames} frames (from 0)")
    return objects


def _maps(folder: Path, source: Path | tuple[Path, ...], info: VideoInfo, frames: int | None) -> dict[int, Path]:
    """Finds the region maps of a clip, reads the first, and prints a line if some are missing.

    Raises:
      UserError: see `region_maps.numbered_maps`; or maps that are not matched, of another size, or of frames that the
        clip does not have, or half of them missing.
    """
    from vfi_jax.data import region_maps
    from vfi_jax.video.pictures import sequences

    first = sequences.find(source).first if isinstance(source, Path) and source.is_dir() else None
    maps = region_maps.numbered_maps(folder, first)
    region_maps.require_about(folder)
    region_maps.read_map(maps[min(maps)], (info.height, info.width))
    if frames is not None and max(maps) >= frames:
        raise UserError(f"{maps[max(maps)]}: is of frame {max(maps)}, and {info.path} has {frames} frames (from 0)")
    if frames is not None and (line := region_maps.note_missing(folder, frames - len(maps), frames)):
        print(f"note: {line}", file=sys.stderr)
    return maps
