"""`vfi-jax models`: all models as a Markdown table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfi_jax.models.spec import ModelSpec

TITLES = ("model", "frames", "time", "parameters", "GMAC at 1280x720", "published score", "license", "status")


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `models` to the commands of the shell."""
    commands.add_parser("models", help="list all models as a Markdown table").set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the table, and on stderr a line per plugin that cannot be used."""
    from vfi_jax.models import MODELS
    from vfi_jax.system.markdown import markdown

    del options
    print(markdown([TITLES, *(row(name, spec) for name, spec in MODELS.items())]))
    for problem in MODELS.problems().values():
        print(problem, file=sys.stderr)


def row(name: str, spec: ModelSpec) -> tuple[str, ...]:
    """The cells of a model, in the order of `TITLES`."""
    time = "-" if spec.kind == "flow" else "any" if spec.any_time else "0.5"
    params, gmac = f"{spec.params_inference / 1e6:.2f} M", f"{spec.gmac:.1f}"
    published = spec.published
    return (name, str(spec.num_frames), time, params, gmac, published.score, published.licence, spec.status)
