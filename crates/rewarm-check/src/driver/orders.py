"""Finds messages that depend on the order in which names were defined.

mypy keeps the names of a module and of a class in the order of their definition, but writes them to
its cache in alphabetical order, and its hash of an interface is made of that. A module that is
checked against one from the cache can then list the members of an enumeration, or several errors of
one statement, in another order than in a cold run. Such messages are only taken from a cold run, and
only as long as no order changes.
"""

import hashlib
import os
import re


class Orders:
    """The order of names in the modules of one cache directory."""

    LITERAL = r"Literal\[([^\]]*)\]"
    MEMBER = r"[\w.]*\w\.\w+\??"

    def __init__(self, cache):
        self.path = os.path.join(cache, "orders.rewarm")
        # Interface and order of each module, by the name of its files.
        self.known = read_table(self.path)

    def take(self, modules):
        """Takes in checked modules: name, interface and symbols. Says whether names changed places
        in one whose interface is the same as before."""
        moved = False
        for name, interface, tree in modules:
            found = (interface.hex(), order(tree))
            before = self.known.get(name, found)
            moved |= before[0] == found[0] and before != found
            self.known[name] = found
        write_table(self.path, self.known)
        return moved

    @classmethod
    def are_told(cls, lines):
        """Whether messages of one module may tell the order of names of another."""
        places = set()
        for line in lines:
            if line[5] == "error" and line[7] != "union-attr":
                if line[1:3] in places:
                    return True
                places.add(line[1:3])
            members = {m for text in re.findall(cls.LITERAL, line[6]) for m in text.split(", ")}
            if sum(bool(re.fullmatch(cls.MEMBER, member)) for member in members) > 1:
                return True
        return False


def order(tree):
    """A digest of the order of all names in a module and its classes that others can know."""
    from mypy.nodes import TypeInfo

    digest = hashlib.sha256()
    tables = [(tree.fullname, tree.names)]
    while tables:
        prefix, table = tables.pop()
        names = [prefix]
        for name, symbol in table.items():
            # A function that is defined again is in the table twice, and in no interface.
            if symbol.no_serialize:
                continue
            names.append(name)
            node = symbol.node
            if type(node) is TypeInfo and node.fullname == "%s.%s" % (prefix, name):
                tables.append((node.fullname, node.names))
        digest.update(("\0".join(names) + "\0\0").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


