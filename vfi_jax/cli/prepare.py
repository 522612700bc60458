"""The commands of `vfi-jax prepare`: writing training sets and labels, and measuring the input pipeline."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from vfi_jax.cli import common
from vfi_jax.config import Footage, Scenes, check_bounds
from vfi_jax.errors import UsageError

# As in `data.published` and `prepare.records`, which take long to import.
PUBLISHED = ("vimeo_triplet", "vimeo_septuplet", "gopro", "x4k1000fps", "adobe240")
ENCODINGS = ("png", "raw")
SEGMENTERS = ("felzenszwalb", "slic")  # as in `prepare.regions`
ACTIONS = "records|published|pack|scenes|flow|distance|masks|regions|bench"
SCENES_HELP = {
    "count": "number of scenes",
    "size": "side of the frames, pixels",
    "frames": "frames per window",
    "layers": "maximum number of layers in front of the background",
    "slowest": "minimum motion of the fastest layer over a window, pixels",
    "fastest": "maximum motion of the fastest layer over a window, pixels",
    "blurred": "fraction of the scenes with motion blur",
    "lit": "fraction of the scenes whose light changes",
    "seed": "seed of the first scene; the others count from it",
}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `prepare` to the commands of the shell."""
    command = commands.add_parser("prepare", help="make training sets")
    actions = command.add_subparsers(required=True, metavar=ACTIONS)
    sets = _add_records, _add_published, _add_pack, _add_scenes
    labels = _add_flow, _add_distance, _add_masks, _add_regions
    for add_action in (*sets, *labels, _add_bench):
        add_action(actions)


def _add_records(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("records", help="write any source as ArrayRecord files; the same command resumes")
    action.add_argument(
        "source",
        type=common.local,
        help="a folder of videos, Vimeo90K, a folder of window folders, synthetic:COUNT, or a plug-in",
    )
    action.add_argument(
        "--smallest",
        type=common.whole(0),
        default=0,
        metavar="PX",
        help="leave out windows whose shorter side is smaller",
    )
    action.add_argument(
        "--regions", action="store_true", help="with the region maps beside the images, or the exact ones of synthetic:"
    )
    _add_encoding(action)
    _add_footage(action, "DIR", "folder of the set")
    action.set_defaults(run=_records)


def _add_published(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("published", help="check a published training set and write it as records")
    action.add_argument("name", help=", ".join(PUBLISHED))
    action.add_argument("root", type=common.local_path, help="folder to which its archive was unpacked")
    action.add_argument(
        "-o", "--output", type=common.local_path, required=True, metavar="DIR", help="folder of the set"
    )
    _add_encoding(action)
    action.set_defaults(run=_published)


def _add_encoding(action: argparse.ArgumentParser) -> None:
    action.add_argument("--encoding", choices=ENCODINGS, default="png", help="encoding of frames (%(default)s)")


def _add_pack(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("pack", help="write crops of videos into one file, for sets that stay on the device")
    action.add_argument("source", type=common.local_path, help="a folder of videos")
    action.add_argument(
        "--size", type=common.whole(1), default=224, metavar="PX", help="side of the crops (%(default)s)"
    )
    action.add_argument(
        "--megabytes", type=common.whole(1), default=1000, metavar="MB", help="maximum size of the frames (%(default)s)"
    )
    action.add_argument("--seed", type=common.whole(0), default=0, help="seed of the crops' positions (%(default)s)")
    _add_footage(action, "FILE", ".safetensors")
    action.set_defaults(run=_pack)


def _add_footage(action: argparse.ArgumentParser, metavar: str, output: str) -> None:
    cut = Footage()
    action.add_argument("-o", "--output", type=common.local_path, required=True, metavar=metavar, help=output)
    action.add_argument(
        "--frames", type=int, metavar="N", help=f"frames per window ({cut.frames}; folders of images: whole)"
    )
    action.add_argument(
        "--step", type=int, default=cut.step, metavar="N", help="frames from one window to the next (%(default)s)"
    )
    action.add_argument(
        "--short-side", type=int, default=cut.short_side, metavar="PX", help="reduce frames to this short side (keep)"
    )
    action.add_argument(
        "--per-clip", type=int, default=cut.per_clip, metavar="N", help="maximum number of windows per clip (all)"
    )


def _add_scenes(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("scenes", help="write synthetic scenes into one packed file; every frame is exact")
    action.add_argument(
        "photos", type=common.local_path, nargs="?", help="a folder of images to cut surfaces from (patterns)"
    )
    action.add_argument("-o", "--output", type=common.local_path, required=True, metavar="FILE", help=".safetensors")
    for field in dataclasses.fields(Scenes):
        description = f"{SCENES_HELP[field.name]} (%(default)s)"
        action.add_argument(f"--{field.name}", type=type(field.default), default=field.default, help=description)
    action.set_defaults(run=_scenes)


def _add_flow(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("flow", help="write flow labels beside a set; the same command resumes")
    action.add_argument("path", type=common.local, help="the set: records, Vimeo90K, a folder of window folders")
    action.add_argument("--teacher", required=True, metavar="NAME", help="dis, raft, raft_small, rife_v4_25, ...")
    action.add_argument(
        "--weights", type=common.local_path, metavar="FILE", help="weights of the teacher (those shipped or installed)"
    )
    action.add_argument(
        "--inputs",
        type=common.indices,
        default=(),
        metavar="I,J",
        help="indices of two or four frames of a window (first and last)",
    )
    action.add_argument(
        "--target", type=common.whole(-1), default=-1, metavar="I", help="index of the target frame (the middle one)"
    )
    _add_set(action)
    action.set_defaults(run=_flow)


def _add_distance(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("distance", help="write distance maps beside a set; the same command resumes")
    action.add_argument("path", type=common.local, help="the set: records, Vimeo90K, a folder of window folders")
    action.add_argument("--teacher", required=True, metavar="NAME", help="dis, raft or raft_small")
    action.add_argument(
        "--weights", type=common.local_path, metavar="FILE", help="weights of the flow network (those installed)"
    )
    _add_set(action)
    action.set_defaults(run=_distance)


def _add_masks(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser(
        "masks", help="write masks of where a frame is uncertain beside a set; the same command resumes"
    )
    action.add_argument("path", type=common.local, help="the set: records, Vimeo90K, a folder of window folders")
    action.add_argument(
        "--weights",
        type=common.local_path,
        metavar="FILE",
        help="weights of ugsp_uncertainty: a file or a run's folder (those installed)",
    )
    action.add_argument(
        "--keep-rate",
        type=common.positive,
        default=0.35,
        metavar="S",
        help="fraction of the computation that the masks keep (%(default)s)",
    )
    _add_set(action)
    action.set_defaults(run=_masks)


def _add_regions(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser(
        "regions", help="write region maps beside pictures, numbered alike along each folder; the same command resumes"
    )
    action.add_argument("path", type=common.local_path, help="a folder of pictures, or of folders of them")
    action.add_argument(
        "--method", choices=SEGMENTERS, default=SEGMENTERS[0], help="superpixels of scikit-image (%(default)s)"
    )
    action.add_argument(
        "--labels",
        type=common.local_path,
        metavar="DIR",
        help="labels of any segmenter instead: a tree like PATH of PNG labels or .npy masks",
    )
    action.add_argument("--matched", action="store_true", help="a number in --labels means one object in all pictures")
    action.add_argument("--source", default="not stated", metavar="TEXT", help="what made --labels: name and version")
    action.add_argument("--licence", default="not stated", metavar="TEXT", help="license of its weights")
    action.set_defaults(run=_regions)


def _add_set(action: argparse.ArgumentParser) -> None:
    """Adds what says which windows of a set are labeled, and by which processes."""
    action.add_argument(
        "--frames",
        type=common.whole(0),
        default=0,
        metavar="N",
        help="frames per window of longer folders (folders whole)",
    )
    action.add_argument(
        "--step",
        type=common.whole(1),
        default=1,
        metavar="N",
        help="images from one such window to the next (%(default)s)",
    )
    action.add_argument(
        "--list", choices=("train", "test"), default="train", help="which of Vimeo90K's lists (%(default)s)"
    )
    action.add_argument(
        "--coordinator", metavar="HOST:PORT", help="address of the first of several processes, if no cluster gives it"
    )
    action.add_argument("--processes", type=common.whole(1), metavar="N", help="number of processes")
    action.add_argument("--process", type=common.whole(0), metavar="I", help="index of this process, from 0")


def _add_bench(actions: argparse._SubParsersAction) -> None:
    action = actions.add_parser("bench", help="measure the input pipeline of sets, without a model")
    action.add_argument("paths", type=common.local, nargs="+", metavar="PATH", help="a set, as data.path takes it")
    action.add_argument(
        "--workers",
        type=common.indices,
        default="0,2",
        metavar="N,M",
        help="numbers of worker processes to measure (%(default)s)",
    )
    action.add_argument("--batch", type=common.whole(1), default=8, metavar="N", help="samples per batch (%(default)s)")
    action.add_argument(
        "--crop", type=common.whole(1), default=192, metavar="PX", help="side of the crops (%(default)s)"
    )
    action.add_argument(
        "--frames", type=common.whole(0), default=0, metavar="N", help="frames per window (those of the set)"
    )
    action.add_argument(
        "--seconds", type=common.positive, default=5.0, metavar="S", help="time of each measurement (%(default)s)"
    )
    action.add_argument(
        "--demand", type=common.positive, metavar="R", help="samples/s that one device consumes, from a run's log"
    )
    action.set_defaults(run=_bench)


def _footage(options: argparse.Namespace) -> Footage:
    frames = Footage().frames if options.frames is None else options.frames
    cut = Footage(frames, options.step, options.short_side, options.per_clip)
    check_bounds(cut, _option)
    return cut


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _records(options: argparse.Namespace) -> None:
    from vfi_jax.data.sources import is_footage
    from vfi_jax.prepare.records import write_records

    cut = _footage(options)
    if options.frames is None and Path(options.source).is_dir() and not is_footage(options.source):
        cut = dataclasses.replace(cut, frames=0)  # folders of images are windows as they are
    counts = write_records(
        options.source,
        options.output,
        cut,
        encoding=options.encoding,
        smallest=options.smallest,
        regions=options.regions,
    )
    _print_counts(options.output, counts)


def _published(options: argparse.Namespace) -> None:
    from vfi_jax.prepare.records import REPORT, write_published

    write_published(options.name, options.root, options.output, encoding=options.encoding)
    report = (options.output / REPORT).read_text().splitlines()
    print(f"{options.output}: {report[0]} ({options.output / REPORT})")


def _pack(options: argparse.Namespace) -> None:
    from vfi_jax.prepare.pack import pack_footage

    cut = _footage(options)
    counts = pack_footage(
        options.source, options.output, cut, size=options.size, megabytes=options.megabytes, seed=options.seed
    )
    _print_counts(options.output, counts)


def _bench(options: argparse.Namespace) -> None:
    from vfi_jax.system.markdown import markdown
    from vfi_jax.training import throughput

    rows = [("set", "kind", "workers", "samples/s", "devices fed")]
    for path in options.paths:
        measured = throughput.measure(
            path, options.workers, batch_size=options.batch, crop=options.crop,
            frames=options.frames, seconds=options.seconds,
        )  # fmt: skip
        for rate in measured:
            fed = f"{rate.samples_per_second / options.demand:.1f}" if options.demand else "-"
            count = "-" if rate.workers is None else str(rate.workers)
            rows.append((rate.path, rate.kind, count, f"{rate.samples_per_second:.1f}", fed))
    print(markdown(rows))


def _scenes(options: argparse.Namespace) -> None:
    from vfi_jax.prepare.scenes import pack_scenes

    config = Scenes(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Scenes)})
    check_bounds(config, _option)
    counts = pack_scenes(options.photos, options.output, config)
    print(f"{options.output}: {counts['windows']} windows, cut from {counts['photos']} photos")


def _flow(options: argparse.Namespace) -> None:
    from vfi_jax.data.labels import folder_of
    from vfi_jax.prepare.flow_labels import write_flow_labels
    from vfi_jax.system import distributed

    distributed.initialize(options.coordinator, options.processes, options.process)
    about = write_flow_labels(
        options.path,
        options.teacher,
        weights=options.weights,
        inputs=options.inputs,
        target=options.target,
        frames=options.frames,
        step=options.step,
        listed=options.list,
    )
    folder = folder_of(options.path, options.teacher, options.list)
    distributed.barrier("labels")
    distributed.by_main(print)(
        f"{folder}: {about['windows']} windows, inputs {about['inputs']}, target {about['target']}"
    )


def _distance(options: argparse.Namespace) -> None:
    from vfi_jax.data.distance_maps import triples
    from vfi_jax.data.distances import KIND
    from vfi_jax.data.labels import folder_of
    from vfi_jax.prepare.distances import write_distance_maps
    from vfi_jax.system import distributed

    distributed.initialize(options.coordinator, options.processes, options.process)
    about = write_distance_maps(
        options.path,
        options.teacher,
        weights=options.weights,
        frames=options.frames,
        step=options.step,
        listed=options.list,
    )
    folder = folder_of(options.path, options.teacher, options.list, KIND)
    distributed.barrier("labels")
    each = len(triples(about["frames"]))
    distributed.by_main(print)(f"{folder}: {about['windows']} windows, {each} maps each")


def _masks(options: argparse.Namespace) -> None:
    from vfi_jax.data.labels import folder_of
    from vfi_jax.data.masks import KIND
    from vfi_jax.prepare.masks import UNCERTAINTY, write_masks
    from vfi_jax.system import distributed

    distributed.initialize(options.coordinator, options.processes, options.process)
    about = write_masks(
        options.path,
        weights=options.weights,
        keep_rate=options.keep_rate,
        frames=options.frames,
        step=options.step,
        listed=options.list,
    )
    folder = folder_of(options.path, UNCERTAINTY, options.list, KIND)
    distributed.barrier("labels")
    thresholds = ", ".join(f"{threshold:.2f}" for threshold in about["thresholds"])
    distributed.by_main(print)(f"{folder}: {about['windows']} windows, uncertainty above {thresholds} is kept")


def _regions(options: argparse.Namespace) -> None:
    from vfi_jax.prepare.regions import Brought, write_regions

    brought = Brought(options.labels, options.source, options.licence, options.matched) if options.labels else None
    if options.matched and not brought:
        raise UsageError("--matched is about --labels, which are missing")
    about = write_regions(options.path, options.method, brought=brought)
    print(f"{options.path}: maps of {about['pictures']} pictures in {about['folders']} folders, by {about['source']}")


def _print_counts(output: Path, counts: dict[str, Any]) -> None:
    from vfi_jax.prepare.footage import format_rejections

    rejected = format_rejections(Counter(counts["rejected"]))
    print(f"{output}: {counts['windows']} windows from {counts['clips']} clips; rejected: {rejected}")
