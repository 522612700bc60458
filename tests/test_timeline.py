"""Times of the target's frames, as arithmetic: counts, order, ends, and what cannot be divided."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfi_jax.errors import UsageError
from vfi_jax.video.options import MAX_FACTOR, Options
from vfi_jax.video.timeline import Timeline, check_midpoints, outputs, rate_of, tick_of, ticks_of, total
from vfi_jax.video.values import Position

FINE = Fraction(1, 10**9)
MILLISECOND = Fraction(1, 1000)
quick = settings(max_examples=60, deadline=None)
FACTORS = st.fractions(min_value=1, max_value=20, max_denominator=12).filter(lambda factor: factor > 1)
RATES = st.sampled_from(
    [Fraction(24000, 1001), Fraction(60), Fraction(60000, 1001), Fraction(2997, 50), Fraction(7, 3)]
)


def clip(gaps, start=Fraction(0), last=Fraction(1, 25)):
    """(time, duration) of frames with these gaps between them."""
    times = list(accumulate(gaps, initial=start))
    return [*((a, b - a) for a, b in pairwise(times)), (times[-1], last)]


GAPS = st.lists(st.integers(1, 500).map(lambda n: Fraction(n, 1000)), max_size=20)
CLIPS = st.builds(clip, GAPS, st.integers(-40, 4000).map(lambda n: Fraction(n, 1000)))


def assert_sound(frames, written, options):
    """Times grow, durations fill the whole, and the clip ends when the source does."""
    assert all(a.time < b.time and a.duration == b.time - a.time for a, b in pairwise(written))
    end = frames[-1][0] + frames[-1][1]
    assert written[-1].time + written[-1].duration == end * options.stretch
    assert all(0 <= one.t < 1 for one in written)


@quick
@given(CLIPS, FACTORS, st.booleans(), st.booleans())
def test_factors(frames, factor, loop, hold_last):
    hold_last = hold_last and not loop
    options = Options(factor=factor, loop=loop, hold_last=hold_last)
    written = list(outputs(frames, options, FINE))
    n = len(frames)
    expected = math.ceil(n * factor) if loop or hold_last else math.floor((n - 1) * factor) + 1
    assert len(written) == total(options, n, Fraction(0)) == expected
    assert_sound(frames, written, options)
    originals = {one.gap: one.time for one in reversed(written) if not one.t}
    for k in range(0, n, factor.denominator):  # frames of the source that are frames of the target
        assert originals[k] == frames[k][0]
    assert written[0].time == frames[0][0]
    assert all(one.time % tick_of(options, MILLISECOND) == 0 for one in written)


@quick
@given(CLIPS, RATES, st.booleans())
def test_rates_are_constant(frames, rate, hold_last):
    options = Options(fps=rate, hold_last=hold_last)
    written = list(outputs(frames, options, FINE))
    start, last = frames[0][0], frames[-1][0]
    span = last - start + frames[-1][1] * hold_last
    assert len(written) == total(options, len(frames), span)
    assert [one.time for one in written] == [start + k / rate for k in range(len(written))]
    assert_sound(frames, written, options)
    for one in written:
        left = frames[one.gap][0]
        right = frames[one.gap + 1][0] if one.gap + 1 < len(frames) else None
        assert right is None or left + one.t * (right - left) == one.time


@quick
@given(CLIPS, FACTORS, st.sampled_from(["factor", "slow", "both"]))
def test_slow_motion_multiplies_times(frames, number, which):
    given_ = {"factor": {}, "slow": {"slow": number}, "both": {"slow": number, "factor": 3}}[which]
    options = Options(**given_)
    written = list(outputs(frames, options, FINE))
    assert_sound(frames, written, options)
    plain = outputs(frames, Options(factor=options.multiple), FINE)
    assert [one.time for one in written] == [one.time * options.stretch for one in plain]
    assert rate_of(options, Fraction(25)) == (25 if which == "slow" else 50 if which == "factor" else 75 / number)


@quick
@given(CLIPS, FACTORS)
def test_ticks_never_repeat(frames, factor):
    """In milliseconds too, whatever the gaps; original frames stay."""
    written = list(outputs(frames, Options(factor=factor), MILLISECOND))
    ticks = [ticks_of(one.time, MILLISECOND) for one in written]
    assert all(a < b for a, b in pairwise(ticks))
    whole = list(outputs(frames, Options(factor=math.ceil(factor)), MILLISECOND))
    assert [one.time for one in whole if not one.t] == [time for time, _ in frames]


def test_gaps_of_a_tick_stay_undivided():
    frames = clip([Fraction(n, 1000) for n in (1, 16, 16)])
    assert [ticks_of(one.time, MILLISECOND) for one in outputs(frames, Options(), MILLISECOND)] == [0, 1, 9, 17, 25, 33]
    timeline = Timeline(Options(), MILLISECOND)
    for (left, _), (right, _) in pairwise(frames):
        timeline.between(left, right)
    assert timeline.undivided == 1
    assert len(timeline.notes()) == 1
    assert timeline.notes()[0].startswith("1 pairs of frames stay undivided")
    assert len(list(outputs(frames, Options(), MILLISECOND / 2))) == 7


def test_frames_within_one_tick_are_dropped():
    frames = clip([Fraction(n, 10_000) for n in (1, 100, 1)])
    assert [ticks_of(one.time, MILLISECOND) for one in outputs(frames, Options(), MILLISECOND)] == [0, 5, 10]
    timeline = Timeline(Options(), MILLISECOND)
    for (left, _), (right, _) in pairwise(frames):
        timeline.between(left, right)
    timeline.last(*frames[-1])
    assert timeline.dropped == 2


def test_time_bases_hold_all_times():
    base = Fraction(1, 90_000)
    assert tick_of(Options(factor="5/2"), base) == base / 5
    assert tick_of(Options(slow=4), base) == base
    assert tick_of(Options(fps="59.94"), base) == Fraction(1, 29_970_000)
    assert tick_of(Options(fps="60000/1001"), Fraction(1001, 24_000)) == Fraction(1001, 120_000)


@pytest.mark.parametrize("options", [{"factor": 4}, {"factor": "4/3"}, {"slow": 8}, {}])
def test_midpoints_make_powers_of_two(options):
    check_midpoints(Options(**options), "cain")


@pytest.mark.parametrize("options", [{"factor": 3}, {"factor": "5/2"}, {"slow": 6}, {"fps": 60}])
def test_midpoints_do_not_make_others(options):
    with pytest.raises(UsageError, match=r"cain supports t = 0\.5 only"):
        check_midpoints(Options(**options), "cain")


def test_midpoints_of_four_frames_double():
    """The frames around the halves of an interval are not known."""
    for options in ({}, {"factor": 2}, {"slow": 2}):
        check_midpoints(Options(**options), "vfit_s", 4)
    for options in ({"factor": 4}, {"factor": "4/3"}, {"fps": 60}):
        with pytest.raises(UsageError, match=r"^vfit_s takes four frames, at t = 0\.5 only: give a --factor of 2$"):
            check_midpoints(Options(**options), "vfit_s", 4)


# ------------------------------------------------------------------------------------------------------------- options


def test_numbers_are_taken_as_written():
    assert Options(factor=2.5) == Options(factor="5/2") == Options(factor=Fraction(5, 2))
    assert Options(fps=59.94).rate == Fraction(2997, 50)
    assert Options(fps="60000/1001").rate == Fraction(60000, 1001)
    assert Options().multiple == 2
    assert Options(slow="2.5").multiple == Fraction(5, 2)


@pytest.mark.parametrize(
    ("text", "value", "is_frame"),
    [
        ("90", 90, False),
        (90, 90, False),
        ("90.5", Fraction(181, 2), False),
        ("1:30.5", Fraction(181, 2), False),
        ("01:02:03.004", Fraction(3723004, 1000), False),
        ("120f", 120, True),
        ("0f", 0, True),
    ],
)
def test_places(text, value, is_frame):
    assert Options(start=text).begin == Position(Fraction(value), is_frame)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"factor": 1}, "above 1"),
        ({"factor": MAX_FACTOR + 1}, "1024 at most"),
        ({"factor": 10**9}, "1024 at most"),
        ({"fps": 10**6}, "10000 at most"),
        ({"fps": "0"}, "above 0"),
        ({"slow": "0.5"}, "above 1"),
        ({"factor": 2, "fps": 60}, "--factor and --fps exclude each other"),
        ({"loop": True, "hold_last": True}, "--loop and --hold-last exclude each other"),
        ({"start": "-1"}, "--from -1"),
        ({"stop": "1:2:3:4"}, "hh:mm:ss"),
        ({"stop": "f"}, "frame such as 120f"),
        ({"start": 3, "stop": 3}, "--to must lie after --from"),
        ({"start": "5f", "stop": "2f"}, "--to must lie after --from"),
        ({"sound": "loud"}, "one of keep, drop"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(UsageError, match=match) as error:
        Options(**options)
    assert "\n" not in str(error.value)
