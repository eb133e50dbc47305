"""Prints the messages of a build in the order of a cold run.

mypy checks the import cycles of a project one after another, each as soon as all it depends on is done,
first come, first served. A cycle that the cache has is not waited for: its messages come before those
of cycles that came first. Here the order is gone through once more, as if nothing had been in the
cache, and mypy prints what it knows of each module.
"""

import os
import sys


class Sequence:
    """A build of mypy, and messages of the modules that were checked in it."""

    def __init__(self, build, checked):
        self.manager = build.manager
        self.graph = build.graph
        # By the names of the modules; mypy has those of the others at hand.
        self.checked = checked

    def cycles(self):
        """The import cycles in the order in which they are checked without a cache."""
        by_id = self.manager.scc_by_id
        waits = {id: len(cycle.deps) for id, cycle in by_id.items()}
        ready = [by_id[id] for id in self.manager.top_order if not waits[id]]
        for cycle in ready:
            yield cycle
            for dependent in cycle.direct_dependents:
                waits[dependent] -= 1
                if not waits[dependent]:
                    ready.append(by_id[dependent])

    def messages(self):
        """The modules that have any, and these."""
        from mypy.build import order_ascc_ex

        for cycle in self.cycles():
            lines = {id: self.lines(id) for id in cycle.mod_ids}
            several = sum(map(bool, lines.values())) > 1
            for id in order_ascc_ex(self.graph, cycle) if several else cycle.mod_ids:
                if lines[id]:
                    yield self.graph[id], lines[id]

    def lines(self, id):
        state = self.graph[id]
        return [] if state.ignore_all else self.checked.get(id, state.error_lines)

    def print(self, path):
        """Has the messages printed to a file."""
        errors, flush = self.manager.errors, self.manager.flush_errors
        sys.stdout.flush()
        usual = os.dup(1)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.close(file)
        try:
            for state, lines in self.messages():
                formatter = self.manager.error_formatter
                texts = errors.format_messages(state.xpath, lines, formatter=formatter)
                flush(errors.simplify_path(state.xpath), texts, False)
            sys.stdout.flush()
        finally:
            os.dup2(usual, 1)
            os.close(usual)


def in_sequence(told, again):
    """What a run has told, with its messages in the order in which they were printed `again`. Gives
    `None` if these are not the same messages."""
    told, again = told.splitlines(True), again.splitlines(True)
    messages, rest = told[: len(again)], told[len(again) :]
    is_summary = not rest or len(rest) == 1 and without_colours(rest[0]).startswith(b"Found ")
    return b"".join(again + rest) if is_summary and sorted(messages) == sorted(again) else None


