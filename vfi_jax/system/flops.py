"""Multiply-adds of a computation, counted from its trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Counts the multiply-adds of the convolutions and matrix products in `function(*args)`.

    Loops of unknown length count once. Of `cond` branches, such as the forms for several backends, the most expensive
    one counts.

    Args:
      function: traced, never run.
      *args: arrays or `jax.ShapeDtypeStruct`s.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // kernel[layout[0]]
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(sizes[axis] for axis in contracted)
        values = jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, (ClosedJaxpr, Jaxpr)))
        inner = [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in values]
        counts = [_count(jaxpr) for jaxpr in inner if isinstance(jaxpr, Jaxpr)]
        together = max if equation.primitive.name == "cond" else sum
        total += together(counts) * equation.params.get("length", 1) if counts else 0
    return total
