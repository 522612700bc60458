"""Y4m on standard input and output: formats, broken streams, latency."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pytest

from vfi_jax.errors import UsageError, UserError
from vfi_jax.video import Options, interpolate_video, pipes, y4m
from vfi_jax.video.interpolate import Job, interpolate
from vfi_jax.video.pipes import PipeSource, PipeTarget

ROOT = Path(__file__).parent.parent
CHROMA = {"420jpeg": (2, 2), "422": (2, 1), "444": (1, 1), "mono": (0, 0)}


def hold(frames, times):
    """In-betweens that repeat the frame before."""
    for _ in times:
        yield frames[len(frames) // 2 - 1]


def stream(frames=3, *, size=(16, 8), name="420jpeg", rate="25:1", more=""):
    """A y4m stream by its specification, independent of the package; frame k holds codes of its own."""
    width, height = size
    base, deep = next((key, name != key) for key in sorted(CHROMA, key=len, reverse=True) if name.startswith(key[:3]))
    across, down = CHROMA[base]
    samples = width * height
    if across:
        samples += 2 * -(-width // across) * -(-height // down)
    bits = int(name.split("p")[-1].removeprefix("mono")) if deep and name[-1].isdigit() and name != "420jpeg" else 8
    data = f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C{name}{more}\n".encode()
    for index in range(frames):
        codes = (np.arange(samples) * 7 + 31 * index) % (2**bits)
        data += b"FRAME\n" + codes.astype(np.uint8 if bits == 8 else "<u2").tobytes()
    return data


def frames_of(data):
    """Header and the data of each frame."""
    header, _, rest = data.partition(b"\n")
    return header, rest.split(b"FRAME\n")[1:]


class Output(io.BytesIO):
    """A stream whose bytes can be read after it is closed."""

    def close(self):
        pass


def run(data, between=hold, **options):
    """The stream that interpolation makes of a stream."""
    asked, output = Options(**options), Output()
    source = PipeSource(io.BytesIO(data))

    class Target(PipeTarget):
        def open(self, info, options, cut, job):
            return contextlib.nullcontext(pipes.PipeWriter(output, info, options))

    survey = source.survey(asked.begin, asked.end)
    job = Job(source, Target(), asked, source.info, survey)
    try:
        summary = interpolate(job, between)
    except UserError as error:
        return output.getvalue(), error
    return output.getvalue(), summary


@pytest.mark.parametrize(
    "name", ["420jpeg", "422", "444", "mono", "420p10", "422p10", "444p10", "mono10", "420p12", "444p16"]
)
@pytest.mark.parametrize("size", [(16, 8), (15, 7)])
def test_originals_keep_every_code(name, size):
    data = stream(3, size=size, name=name, rate="30000:1001", more=" XCOLORRANGE=LIMITED")
    written, summary = run(data)
    header, frames = frames_of(written)
    assert (summary.source_frames, summary.frames) == (3, 5)
    assert header.split(b" ")[:4] == [b"YUV4MPEG2", b"W%d" % size[0], b"H%d" % size[1], b"F60000:1001"]
    assert f"C{name}".encode() in header.split(b" ")
    assert b"XCOLORRANGE=LIMITED" in header
    assert frames[::2] == frames_of(data)[1]


@pytest.mark.parametrize("name", ["420mpeg2", "420paldv"])
def test_places_of_chroma_are_kept(name):
    written, _ = run(stream(2, name="420jpeg").replace(b"C420jpeg", f"C{name}".encode()))
    assert f"C{name}".encode() in frames_of(written)[0].split(b" ")


def test_parts_and_rates():
    written, summary = run(stream(6), start="1f", stop="4f", fps=50)
    assert (summary.source_frames, summary.frames) == (3, 5)
    assert frames_of(written)[1][0] == frames_of(stream(6))[1][1]
    assert b" F50:1 " in frames_of(written)[0]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"RIFF and so on\n" * 3, "is not y4m"),
        (bytes(9000), "is not y4m"),
        (b"YUV4MPEG2 W16 H8 F25:1 C420jpe", "breaks off"),
        (b"YUV4MPEG2 W16 F25:1\n", "lacks a size or a rate"),
        (b"YUV4MPEG2 W16 H8 F0:0\n", "lacks a size or a rate"),
        (b"YUV4MPEG2 W16 H8 F25:1 Cxyz\n", "Cxyz is not known"),
    ],
)
def test_streams_that_are_no_y4m(data, match):
    with pytest.raises(UserError, match=match) as error:
        PipeSource(io.BytesIO(data))
    assert "\n" not in str(error.value)


def test_no_frames():
    assert "has no frames" in str(run(stream(0))[1])


@pytest.mark.parametrize("cut", [1, 100, 197])
def test_the_end_inside_a_frame_is_an_error_after_what_could_be_done(cut):
    data = stream(3)
    written, error = run(data[:-cut])
    assert isinstance(error, UserError)
    assert "breaks off inside frame 3, after 2 whole ones" in str(error)
    assert frames_of(written)[1][::2] == frames_of(data)[1][:2]


def test_damage_between_frames():
    data = stream(3)
    written, error = run(data.replace(b"FRAME\n", b"FLAME\n").replace(b"FLAME\n", b"FRAME\n", 2))
    assert "damaged after frame 2" in str(error)
    assert written


class Feed:
    """A pipe that is fed by the test: it counts the frames that have been taken."""

    def __init__(self, data, size):
        self._data, self._size, self.taken = data, size, 0

    def read(self, count, /):
        chunk, self._data = self._data[: min(count, self._size)], self._data[min(count, self._size) :]
        self.taken += len(chunk)
        return chunk


@pytest.mark.parametrize("latency", [True, False])
def test_latency(latency):
    """Frame k is written before frame k + 4 is read, as cuts are looked for; with --latency, before frame k + 1."""
    data = stream(6)
    header, frame = len(frames_of(data)[0]) + 1, 6 + 192
    feed, seen = Feed(data, 50), []

    class Recorder(Output):
        def write(self, chunk, /):
            if chunk.startswith(b"FRAME"):
                seen.append((feed.taken - header + frame - 1) // frame)  # frames of which anything was read
            return super().write(chunk)

    options, source = Options(latency=latency), PipeSource(feed)
    output = Recorder()
    writer = pipes.PipeWriter(output, source.info, options)

    class Target(PipeTarget):
        def open(self, info, options, cut, job):
            return contextlib.nullcontext(writer)

    interpolate(Job(source, Target(), options, source.info, source.survey(options.begin, None)), hold)
    ahead = 1 if latency else 4
    assert len(seen) == 11
    assert [seen[2 * k] for k in range(5)] == [min(6, k + ahead) for k in range(5)]
    assert frames_of(output.getvalue())[1][::2] == frames_of(data)[1]


@pytest.mark.parametrize(
    "options", [{}, {"factor": 5}, {"factor": "5/2"}, {"fps": 40}, {"slow": 2}, {"hold_last": True}]
)
def test_latency_changes_nothing_else(options):
    assert run(stream(5), latency=True, **options)[0] == run(stream(5), **options)[0]


def test_latency_is_for_pipes(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=2)
    with pytest.raises(UsageError, match="--latency is for an output to a pipe"):
        interpolate_video(source, tmp_path / "out.mp4", hold, Options(latency=True))


# ------------------------------------------------------------------------------------------------------ as a process

SCRIPT = """
    import pathlib, sys
    from vfi_jax import errors, video
    def between(frames, times):
        print("this goes to stderr")
        for _ in times:
            yield frames[0]
    try:
        pipe = pathlib.Path("-")
        source = pipe if sys.argv[1] == "-" else pathlib.Path(sys.argv[1])
        video.interpolate_video(source, pipe, between, video.Options(latency="latency" in sys.argv))
    except errors.ANY as error:
        sys.exit(errors.report("vfi-jax", error))
"""


def started(*arguments, **options):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_a_frame_comes_out_before_the_one_after_the_next_is_fed():
    header, frames = frames_of(stream(4))
    with started("-", "latency", stdin=subprocess.PIPE, bufsize=0) as process:
        process.stdin.write(header + b"\n")
        for index, frame in enumerate(frames):
            process.stdin.write(b"FRAME\n" + frame)
            if index == 0:
                assert b"F50:1" in b"".join(iter(lambda: process.stdout.read(1), b"\n"))  # the header
            count = 1 if index == 0 else 2  # the original, after the new one before it
            block = b"".join(process.stdout.read(1) for _ in range(count * (6 + len(frame))))
            assert block.endswith(b"FRAME\n" + frame)
        process.stdin.close()
        assert process.stdout.read() == b""
        assert b"this goes to stderr" in process.stderr.read()
    assert process.returncode == 0


def test_a_reader_that_leaves(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=40, size=(320, 240), options={"preset": "ultrafast"})
    with started(source) as process:
        assert process.stdout.read(100)
        process.stdout.close()
        lines = [line for line in process.stderr.read().splitlines() if b"this goes" not in line]
    assert process.returncode == 1
    assert lines == []


def test_from_a_file_the_rate_is_exact(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=3, rate=Fraction(24000, 1001), codec="ffv1")
    with started(source) as process:
        written, _ = process.communicate()
    header, frames = frames_of(written)
    assert process.returncode == 0
    assert b" F48000:1001 " in header
    assert len(frames) == 5
    assert y4m.parse(header, "-").pixel_format == "yuv420p"


# ---------------------------------------------------------------------------------------------- the recipe of the docs

FEED = """
    import os, pathlib, subprocess, sys, time
    if "in.mkv" not in sys.argv:  # packages ask whether there is an ffmpeg
        os.execv({ffmpeg!r}, sys.argv)
    log, sent = pathlib.Path({log!r}), pathlib.Path({sent!r})
    def arrived():
        return len(log.read_text().splitlines()) if log.exists() else 0
    with subprocess.Popen([{ffmpeg!r}, *sys.argv[1:]], stdout=subprocess.PIPE) as real:
        header = real.stdout.readline()
        sys.stdout.buffer.write(header)
        for number in range({frames}):
            frame = real.stdout.read({size})
            sent.write_text(str(number + 1))
            sys.stdout.buffer.write(frame)
            sys.stdout.buffer.flush()
            until = time.monotonic() + 120
            while arrived() < 2 * number + 1 and time.monotonic() < until:  # all that can be made of these frames
                time.sleep(0.01)
"""
PLAYER = """
    import pathlib, sys
    log, sent = pathlib.Path({log!r}), pathlib.Path({sent!r})
    sys.stdin.buffer.readline()
    while frame := sys.stdin.buffer.read({size}):
        with log.open("a") as file:
            print(len(frame), sent.read_text(), " ".join(sys.argv[1:]), file=file)
"""


def program(folder, name, text, **values):
    """A program for the recipe, instead of the one that a user has."""
    file = folder / name
    file.write_text(f"#!{sys.executable}\n" + textwrap.dedent(text).format(**values))
    file.chmod(0o755)


@pytest.mark.slow
def test_the_recipe_for_players(tmp_path):
    """The command of the docs, by its letters: originals are 0 source frames late, new ones 1.

    ffmpeg is the real one behind a feed that sends the next frame when all that can be shown has arrived; mpv notes
    for each frame how many of the source had been sent.
    """
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    recipe = (ROOT / "docs/programs.md").read_text().partition("test_video_pipes.py runs it -->\n```\n")[2]
    recipe = recipe.partition("\n```")[0]
    assert "--latency" in recipe
    clips.make_clip(tmp_path / "in.mkv", frames=5, sound=["aac"])
    log, sent = str(tmp_path / "log"), str(tmp_path / "sent")
    size = len(b"FRAME\n") + clips.SIZE[0] * clips.SIZE[1] * 3 // 2
    bin = tmp_path / "bin"
    bin.mkdir()
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    program(bin, "ffmpeg", FEED, log=log, sent=sent, size=size, ffmpeg=ffmpeg, frames=5)
    program(bin, "mpv", PLAYER, log=log, sent=sent, size=size)
    program(bin, "vfi-jax", "import sys\nfrom vfi_jax.cli.main import main\nsys.exit(main())")
    path = os.pathsep.join([str(bin), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", recipe], cwd=tmp_path, env={**os.environ, "PATH": path, "PYTHONPATH": modules},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 2) for line in Path(log).read_text().splitlines()]
    assert [int(bytes_) for bytes_, _, _ in rows] == [size] * 9
    assert {arguments for _, _, arguments in rows} == {"--audio-file=in.mkv -"}
    late = [int(sent) - 1 - number // 2 for number, (_, sent, _) in enumerate(rows)]  # source frames behind the place
    assert late == [0, 1] * 4 + [0]
