"""Exceptions that a user sees as one line, and the exit status that belongs to each."""

from __future__ import annotations


class UserError(ValueError):
    """What a user can mend: one line that names the thing and what to do. The shell exits with 1."""


class UsageError(UserError):
    """A wrong argument, seen from the arguments alone. The shell exits with 2."""


class DamagedError(UserError):
    """A picture or a record that cannot be read. Training takes another in its place, up to a share."""
