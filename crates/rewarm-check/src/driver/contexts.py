"""Imports mypy with context managers that cost less.

mypy enters one for nearly every expression that it checks. Those of the standard library run four
functions of Python for that and raise an exception at the end of each; here it is two functions and no
exception. Where an exception goes through the block the standard library's own code decides.
"""

import contextlib
import functools


class Context(functools.partial):
    """A context manager made of `next` and a generator that yields once."""

    __slots__ = ()
    __enter__ = functools.partial.__call__

    @property
    def gen(self):
        return self.args[0]

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            return contextlib._GeneratorContextManager.__exit__(self, kind, value, traceback)
        for _ in self.args[0]:
            self.args[0].close()
            raise RuntimeError("generator didn't stop")
        return False


def import_mypy():
    """Imports mypy as its console script does. Gives what that calls."""
    usual = contextlib.contextmanager

    def contextmanager(function):
        # Compiled methods know their class only.
        owner = getattr(function, "__objclass__", function)
        if getattr(owner, "__module__", "").partition(".")[0] != "mypy":
            return usual(function)

        @functools.wraps(function)
        def begin(*arguments, **keywords):
            return Context(next, function(*arguments, **keywords))

        return begin

    contextlib.contextmanager = contextmanager
    try:
        from mypy.__main__ import console_entry
    finally:
        contextlib.contextmanager = usual
    return console_entry
