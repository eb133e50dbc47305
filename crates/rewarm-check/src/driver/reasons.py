"""Says why mypy checked a module again.

mypy replaces what it knows of a module whenever it checks it. What the cache held before is kept
until the end of the run and compared with what it holds then.
"""

import os


class Reasons:
    # No more modules are told.
    MOST = 1000

    def __init__(self, wanted, pack):
        self.wanted = wanted
        self.pack = pack
        # What was replaced, in that order; `None` for what was not there.
        self.old = {}

    def keep(self, name):
        """Keeps a content that is about to be replaced."""
        if not self.wanted or name in self.old or not name.endswith(ENDS[:2]):
            return
        if len(self.old) >= 2 * self.MOST:
            return
        try:
            self.old[name] = self.pack.read(name)
        except OSError:
            self.old[name] = None

    def all(self):
        """For each module that was checked: the reason, its name, and what the reason is about, each
        on a line. The reason is empty if it is not known."""
        for name in self.old:
            if name.endswith(ENDS[1]):
                try:
                    yield "\n".join(self.one(name[: -len(ENDS[1])]))
                except Exception:
                    # A reason that is missing must not cost the answer.
                    continue

    def one(self, stem):
        new = Triple(*[self.pack.read(stem + end) for end in ENDS[:2]], b"")
        name = new.meta.id
        files = [self.old.get(stem + end, b"") for end in ENDS[:2]]
        if None in files:
            return "new", name, ""
        try:
            old = Triple(*files, b"")
        except (ValueError, AssertionError, IndexError):
            return "", name, ""
        if old.meta.hash != new.meta.hash:
            return "source", name, ""
        if old.meta.options != new.meta.options:
            return "options", name, ""
        before, after = self.interfaces(old), self.interfaces(new)
        changed = [module for module in before if after.get(module, before[module]) != before[module]]
        if changed:
            return "interface", name, min(changed)
        return ("imports" if set(before) != set(after) else ""), name, ""

    def interfaces(self, triple):
        holders = (triple.meta, triple.extra)
        return {m: h for each in holders for m, h in zip(each.dependencies, each.dep_hashes)}
