"""Matplotlib's figures, drawn without a display, and without its lines about where it caches fonts."""

import logging

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns when it is imported by a user without a home

from matplotlib.figure import Figure as Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter as FuncFormatter  # noqa: E402
