"""Seconds of the tests of each family beside the budgets of CONTRIBUTING.md; printed if VFI_JAX_BUDGET is set."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

CONTRIBUTING = Path(__file__).parent.parent / "CONTRIBUTING.md"
OTHER = "other"
FAMILIES = {
    "models: rife": "rife rife_v4 rife_lap shipped",
    "models: ifrnet": "ifrnet",
    "models: amt": "amt",
    "models: ema_vfi": "ema_vfi",
    "models: ugsp": "ugsp active",
    "models: distance": "distance",
    "models: regions": "regions",
    "models: cain": "cain",
    "models: cspa": "cspa texture",
    "models: dbvi": "dbvi splat",
    "models: vfit": "vfit",
    "models: raft": "raft correlation against_torchvision",
    "models: shared": (
        "api zoo ops kinks times losses metrics precision inference still export extra classical published "
        "against_torch plugins"
    ),
    "training": (
        "training faults early_stopping first_minutes unfit lock seeing overfit soak optimizer remote hosts roll_call "
        "integrity config batches feed"
    ),
    "data": "augment footage labels generated_sets published_sets sources synthetic",
    "evaluation": "evaluation figures eval_command scores benchmark_sets perceptual results_kept compare tpu_compile",
    "video": (
        "video video_pixels video_forms video_pictures video_pipes timeline video_skip video_time video_files "
        "video_content video_losses video_segments video_damage video_frames verify encoders cli options aborts viz "
        "comfyui vapoursynth compare_video preview"
    ),
    "weights": "weight_faults ways_in convert fetch flow_network torch_files torch_writer",
    "docs": "docs",
}
FAMILY_OF = {f"test_{stem}": family for family, stems in FAMILIES.items() for stem in stems.split()}
ROW = re.compile(r"^\| ([a-z_]+(?:: [a-z_0-9]+)?) \| (\d+) \| (\d+) \|$", re.MULTILINE)


def budgets(text: str) -> dict[str, tuple[int, int]]:
    """Family to its seconds of fast and of slow tests, from the table of CONTRIBUTING.md."""
    return {name: (int(fast), int(slow)) for name, fast, slow in ROW.findall(text)}


def used(reports: Iterable[tuple[str, bool, float]]) -> dict[str, tuple[float, float]]:
    """Family to seconds of its fast and of its slow tests.

    Args:
      reports: node id, whether the test is marked slow, and seconds, of each phase of each test.
    """
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for node, slow, duration in reports:
        seconds[FAMILY_OF.get(Path(node.partition("::")[0]).stem, OTHER)][slow] += duration
    return {family: (fast, slow) for family, (fast, slow) in seconds.items()}


def lines(reports: Iterable[tuple[str, bool, float]], text: str) -> list[str]:
    """A line per family and kind of tests that ran: seconds used, budget, and a mark if that is exceeded."""
    limits, found = budgets(text), []
    for family, seconds in sorted(used(reports).items()):
        for kind, spent, limit in zip(("fast", "slow"), seconds, limits.get(family, (0, 0)), strict=True):
            if spent:
                over = "  over budget" if spent > limit else ""
                found.append(f"{family:16} {kind}  {spent:7.1f} / {limit:4} s{over}")
    return found
