"""Runs mypy in a process of its own and reads what came of it."""

import faulthandler
import os
import re
import signal
import sys


class Pass:
    """One run of mypy in a process of its own."""

    def __init__(self, scratch, number, pack, entry):
        self.number = number
        # The cache; `None` for a run without one.
        self.pack = pack
        ends = ("out", "err", "seen", "again")
        names = [os.path.join(scratch, "%d.%s" % (number, end)) for end in ends]
        self.out, self.err, self.seen, self.again = names
        child = os.fork()
        if child == 0:
            if tied is not None:
                os.close(tied)
            for descriptor, path in ((1, self.out), (2, self.err)):
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(file, descriptor)
                os.close(file)
            # Whoever ends a run that hangs learns where it was.
            faulthandler.register(signal.SIGTERM, file=2, all_threads=False, chain=True)
            observer = Observer(self.seen, self.again, scratch, pack)
            observer.start()
            try:
                entry()
                code = 0
            except SystemExit as end:
                code = end.code
            # Older versions come this way. A full disk is noticed here, before the report is whole.
            sys.stdout.flush()
            sys.stderr.flush()
            observer.conclude()
            sys.exit(code)
        self.status = os.waitpid(child, 0)[1]
        if pack:
            pack.load()
        self.code = os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else -1
        self.facts = self.read()
        self.rechecked = int(self.facts.get(b"rechecked", [b"0"])[0])

    def read(self):
        try:
            with open(self.seen, "rb") as file:
                fields = file.read().split(b"\0")
        except FileNotFoundError:
            return {}
        facts = {}
        for tag, value in zip(fields[::2], fields[1::2]):
            facts.setdefault(tag, []).append(value)
        return facts

    def tell(self, report):
        for tag in (b"f", b"p", b"l", b"D", b"v", b"x"):
            for value in self.facts.get(tag, []):
                report.add(tag.decode(), os.fsdecode(value))
        if b"end" not in self.facts:
            report.add("x", "mypy ended without a report of what it read")

    def tell_modules(self, report, misfits, told):
        """Names the modules that were checked and not yet told; why those were that did not fit is not
        told."""
        dropped = {name.partition(os.sep)[2].replace(os.sep, ".") for name in misfits}
        for value in self.facts.get(b"m", []):
            why, module, about = os.fsdecode(value).split("\n")
            if module in told:
                continue
            told.add(module)
            if module in dropped or module + ".__init__" in dropped:
                why = ""
            report.add("m", "\n".join((why, module, about)))

    def misfits(self):
        """Modules that were not checked and would have been in other circumstances, by the names of
        their files."""
        return {os.fsdecode(name) for name in self.facts.get(b"u", [])}

    def is_lost(self):
        """Whether the circumstances of the modules are not known."""
        return b"lost" in self.facts

    def written(self):
        """Modules that were checked, by the names of their files."""
        return {os.fsdecode(name) for name in self.facts.get(b"w", [])}

    def output(self):
        with open(self.out, "rb") as out, open(self.err, "rb") as err:
            return out.read(), err.read()

    def lacks_target(self):
        """Whether neither the arguments nor the configuration say what to check."""
        return self.code == 2 and b": error: Missing target module" in self.output()[1]

    def text(self):
        """The standard output without its colours, which stand between words and marks."""
        return without_colours(self.output()[0])

    def is_silent(self):
        """Whether there is no message whose place among others could be wrong."""
        err = self.output()[1]
        lines = self.text().splitlines()
        quiet = not lines or len(lines) == 1 and b"Success: no issues found in " in lines[0]
        return self.code == 0 and quiet and not err

    def is_broken(self):
        """Whether mypy stumbled over its cache, or might have."""
        texts = (b"INTERNAL ERROR", b"bad cache", b"Traceback (most recent call last)")
        return self.code not in (0, 1, 2) or any(t in o for t in texts for o in self.output())

    def is_torn(self):
        """Whether a part of a module may be missing from the cache."""
        return b"torn" in self.facts or b"end" not in self.facts

    def is_cut(self):
        """Whether mypy died of something else than a signal, perhaps of a full disk; then its
        output may not be whole."""
        return os.WIFEXITED(self.status) and self.code != 2 and b"end" not in self.facts

    def is_stale(self):
        """Whether what the cache holds was made with other plugins."""
        return b"stale" in self.facts

    def needs_cold(self):
        """Whether a message of a cached module may differ from that of a cold run."""
        return self.is_stale() or self.is_torn() or b"cold" in self.facts

    def is_disordered(self, restored):
        """Whether a message may come of names in another order than that of a cold run."""
        names = self.written()
        if restored or b"moved" in self.facts:
            names = names.union(os.fsdecode(name) for name in self.facts.get(b"g", []))
        try:
            triples = (read_triple(self.pack, name) for name in names)
            return any(Orders.are_told(triple.extra.error_lines) for triple in triples)
        except (ValueError, OSError, AssertionError, AttributeError):
            return True

    def reorder(self):
        """Puts the messages into the order of a cold run. Says whether that was possible."""
        told = self.output()[0]
        try:
            right = in_sequence(told, read_file(self.again))
        except OSError:
            return False
        if right is not None and right != told:
            with open(self.out, "wb") as file:
                file.write(right)
        return right is not None

    def settle_hints(self):
        """Sets the hints in the cache right. Says whether that changed any; `None` if the right
        ones are not known."""
        try:
            names = [os.fsdecode(name) for name in self.facts.get(b"g", [])]
            return Hints(self.pack).assign(names)
        except (ValueError, OSError, AttributeError):
            return None


def without_colours(text):
    return re.sub(rb"\x1b(?:\[[0-9;]*[A-Za-z]|\([0-9A-Z])|\x0f", b"", text)


