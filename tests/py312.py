"""Selects the fast tests of what can differ on another Python: versions of jax, PyAV, NumPy, Grain and Orbax.

`pytest --py312` runs the files of `WHOLE`, and of the files of `NAMED` the first case of each test that is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WHOLE = (  # numbers of jax and NumPy; decoding and encoding; reading, augmenting and saving; the shell; parsers
    "ops losses metrics correlation splat video video_pixels video_forms video_pictures video_pipes video_skip "
    "video_time video_content video_losses video_segments video_damage verify encoders "
    "video_frames vapoursynth compare_video sources batches augment optimizer integrity torch_files cli config"
)
NAMED = {  # one stored case per family; a run that stops and resumes; one evaluation
    "rife": "test_forward",
    "rife_v4": "test_forward",
    "ifrnet": "test_forward",
    "amt": "test_forward",
    "ema_vfi": "test_forward",
    "ugsp": "test_forward",
    "cain": "test_forward",
    "dbvi": "test_one_update",
    "vfit": "test_forward",
    "raft": "test_forward",
    "inference": "test_shape_and_dtype_in_and_out test_integers_round_half_to_even",
    "training": "test_a_run_leaves_what_is_promised test_resume_continues_bit_for_bit",
    "evaluation": "test_results_are_kept",
    "plugins": "test_a_model_from_outside",
}


def select(items: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Splits collected tests into those to run and those to leave out.

    Raises:
      LookupError: a name of this file matches no test.
    """
    whole = {f"test_{stem}" for stem in WHOLE.split()}
    named = {(f"test_{stem}", name) for stem, names in NAMED.items() for name in names.split()}
    wanted, rest, seen = [], [], set()
    for item in items:
        stem = Path(item.path).stem
        test = (stem, getattr(item, "originalname", item.name))
        first = test in named and test not in seen
        seen |= {test, stem}
        (wanted if stem in whole or first else rest).append(item)
    if missing := (whole | named) - seen:
        raise LookupError(f"tests/py312.py names what does not exist: {sorted(map(str, missing))}")
    return wanted, rest
