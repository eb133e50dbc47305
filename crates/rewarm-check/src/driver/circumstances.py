"""Knows what each result in the cache was found under, beside what mypy itself compares.

mypy compares sources, options and dependencies. A result depends on more: on the order in which the
modules of an import cycle are gone through, which follows from the targets and from the imports of
others; on whether messages are wanted; and on names that were imported from a package and were no
modules then. Two orders are the same for a module if its dependencies in the cycle come before and
after it as they did.

`around.rewarm` has a line for each module: the name of its files, a tab, its turn in its cycle, whether
messages were not wanted, and the names that were no modules.
"""

import hashlib
import os


class Circumstances:
    ALONE = "-"

    def __init__(self, cache):
        self.path = os.path.join(cache, "around.rewarm")
        self.known = {name: text for name, (text,) in read_table(self.path).items()}

    def keep(self, found):
        """Takes in what is known of some modules."""
        self.known.update(found)
        write_table(self.path, {name: (text,) for name, text in self.known.items()})

    def drop(self, names, pack):
        """Takes results out of the cache."""
        for name in names:
            self.known.pop(name, None)
            for end in ENDS:
                pack.remove(name + end)
        self.keep({})


class Surroundings:
    """A build of mypy, as far as it is what modules were checked in.

    `modules` are its states by the names of their files; `present` holds the last parts of the names of
    all modules that there may be.
    """

    def __init__(self, manager, modules, present):
        self.manager = manager
        self.modules = modules
        self.graph = {state.id: state for state in modules.values()}
        self.present = present.union(id.rpartition(".")[2] for id in self.graph)
        self.exists = {}
        self.turns = {}
        for cycle in manager.scc_by_id.values():
            if len(cycle.mod_ids) > 1:
                self.turns.update(self.turns_in(cycle))

    def turns_in(self, cycle):
        """For each module of a cycle a digest of the members, and of the dependencies among them that
        come before it."""
        from mypy.build import order_ascc_ex

        order = order_ascc_ex(self.graph, cycle)
        place = {id: index for index, id in enumerate(order)}
        members = hashlib.sha256("\0".join(sorted(order)).encode())
        for index, id in enumerate(order):
            digest = members.copy()
            before = [d for d in self.graph[id].dependencies if place.get(d, index) < index]
            digest.update(("\0\0" + "\0".join(sorted(before))).encode())
            yield id, digest.hexdigest()[:32]

    def is_module(self, name):
        """Whether there is a module of that name, as mypy decides it."""
        if name.rpartition(".")[2] not in self.present:
            return False
        if name not in self.exists:
            self.exists[name] = self.manager.is_module(name)
        return self.exists[name]

    def of(self, name):
        """The circumstances of a module that was just checked."""
        state = self.modules[name]
        absent = set()
        for each in state.tree.imports:
            if type(each).__name__ == "ImportFrom":
                package = self.manager.correct_rel_imp(state.tree, each)
                names = {"%s.%s" % (package, imported) for imported, _ in each.names}
                absent.update(name for name in names if not self.is_module(name))
        turn = self.turns.get(state.id, Circumstances.ALONE)
        return " ".join([turn, str(int(state.ignore_all)), *sorted(absent)])

    def fit(self, name, text):
        """Whether a module that was not checked now would be checked under these circumstances."""
        state = self.modules[name]
        turn, ignored, *absent = text.split(" ")
        same = turn == self.turns.get(state.id, Circumstances.ALONE)
        return same and ignored == str(int(state.ignore_all)) and not any(map(self.is_module, absent))


