"""Objects of other packages: by `package.module:NAME`, and by the names that installed packages register."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from vfi_jax.errors import UsageError

T = TypeVar("T")
LONGEST = 100  # characters of a name in a message


def load_object(reference: str, kind: type | None, what: str) -> Any:
    """Imports an object by its place in a package.

    Args:
      reference: `package.module:NAME`; NAME may have dots.
      kind: class that the object must be an instance of (`collections.abc.Callable` for functions); None: any object.
      what: what the object is used as, for messages: "model", "loss".

    Returns:
      The object.

    Raises:
      UsageError: a malformed reference, a module that cannot be imported, no such attribute, or another kind of object.
    """
    module_name, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise UsageError(f"{what} {reference!r} must read package.module:NAME")
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # a module of somebody else may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{what} {reference}: {module_name} cannot be imported ({reason})") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{what} {reference}: {module_name} has no {attribute}")
        found = getattr(found, name)
    if kind is not None and not isinstance(found, kind):
        raise UsageError(f"{what} {reference} is no {kind.__name__}, but of type {type(found).__name__}")
    return found


def named_entry_points(group: str) -> dict[str, tuple[str, ...]]:
    """Finds what installed packages register under an entry point group; imports nothing.

    Args:
      group: such as "vfi_jax.models".

    Returns:
      Name to references `package.module:NAME`; more than one where several packages claim the name.
    """
    return _entry_points(group, tuple(sys.path))


@functools.lru_cache(maxsize=16)
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Scans the packages on `path`, which is `sys.path`; a scan takes milliseconds."""
    references: dict[str, tuple[str, ...]] = {}
    for point in importlib.metadata.entry_points(group=group):
        known = references.get(point.name, ())
        references[point.name] = tuple(sorted({*known, point.value}))
    return references


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """The message about a name that nothing has: the names that it resembles, and all that there are."""
    close = difflib.get_close_matches(name, known, 3)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return f"no {what} is called {name[:LONGEST]!r}; {meant}there are: {', '.join(known)}"


class Registry(Mapping[str, T], Generic[T]):
    """Built-in objects by name, with those of installed packages, which are imported when they are first asked for.

    A key is a built-in name, a name from the entry point group, or `package.module:NAME`. Iteration yields the first
    two, without plugins that are broken or have a name that is taken; `problems` says what is wrong with those. A
    broken plugin never affects other names.
    """

    def __init__(self, built_in: Mapping[str, T], group: str, kind: type | None, what: str) -> None:
        """Takes the built-in objects.

        Args:
          built_in: name to object.
          group: of entry points, such as "vfi_jax.models".
          kind: class of every object; see `load_object`.
          what: what the objects are used as, for messages: "model", "loss".
        """
        self.built_in, self.group, self.kind, self.what = built_in, group, kind, what

    def find(self, name: str) -> T:
        """Returns the object of a key.

        Raises:
          UsageError: no such name, or a plugin that cannot be used; one line.
        """
        if name in self.built_in:
            return self.built_in[name]
        if ":" in name:
            return load_object(name, self.kind, self.what)
        references = named_entry_points(self.group).get(name, ())
        if not references:
            raise UsageError(unknown(self.what, name, list(self)))
        if len(references) > 1:
            raise UsageError(f"two plugins register a {self.what} {name!r}: {', '.join(references)}; uninstall one")
        return load_object(references[0], self.kind, self.what)

    def problems(self) -> dict[str, str]:
        """Returns name to one line, for each plugin that cannot be used."""
        return {name: problem for name in named_entry_points(self.group) if (problem := self._problem(name))}

    def _problem(self, name: str) -> str:
        if name in self.built_in:
            references = ", ".join(named_entry_points(self.group)[name])
            return f"plugin {references} is refused: {name!r} is a built-in {self.what}"
        try:
            self.find(name)
        except UsageError as error:
            return str(error)
        return ""

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise KeyError(name)
        return self.find(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (
            name in self.built_in or ":" in name or name in named_entry_points(self.group)
        )

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from (name for name in named_entry_points(self.group) if not self._problem(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)
