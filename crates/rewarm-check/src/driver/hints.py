"""Puts hints that mypy gives once per run where a cold run would.

A hint belongs to the first module, in the order in which modules are found, that has a message of
its sort. A module checked by itself has hints that belong elsewhere, and one taken from the cache
lacks those that have become its own. They are set right in the cache, so that mypy prints them.
"""

import os
import re


class Hints:
    """The messages about imports in one cache directory."""

    MARKS = (b"Cannot find implementation", b"Skipping analyzing", b"Library stubs not installed")
    # What mypy adds to each of several messages on a line; their order is not worth knowing.
    ENTANGLED = ("not covered by", "may be out of date")

    def __init__(self, pack):
        from mypy.modulefinder import ModuleNotFoundReason as Reason

        self.pack = pack
        # Reasons without a message of their own are told from others by where mypy runs.
        reasons = (Reason.NOT_FOUND, Reason.FOUND_WITHOUT_TYPE_HINTS)
        reasons += (Reason.APPROVED_STUBS_NOT_INSTALLED,)
        templates = [reason.error_message_templates(False) for reason in reasons]
        self.sorts = [(pattern(message, "{module}"), notes) for message, notes in templates]
        notes = {note for _, notes in templates for note in notes}
        self.once = [pattern(note, "{stub_dist}") for note in sorted(notes)]

    def is_hint(self, line):
        return line[5] == "note" and any(once.fullmatch(line[6]) for once in self.once)

    def without(self, lines):
        """Messages as they are in a module that has no hint."""
        return [line for line in lines if not self.is_hint(line)]

    def of_import(self, line):
        """The module that a message reports as missing, and the hints that go with it."""
        for message, notes in self.sorts:
            found = message.fullmatch(line[6]) if line[5] == "error" else None
            if found:
                return found[1], [self.complete(note, found[1]) for note in notes]
        return None

    def complete(self, note, module):
        from mypy.stubinfo import stub_distribution_name

        if "{stub_dist}" not in note:
            return note
        return note.format(stub_dist=stub_distribution_name(module))

    def assign(self, names):
        """Sets the hints of a build right; `names` are its modules in the order of finding.

        Says whether anything had to be changed. Raises `ValueError` if that cannot be known.
        """
        if any(name in ("__init__.py", "__init__.pyi") for name in os.listdir()):
            raise ValueError("a module may be missing because of the working directory")
        given, changed = set(), []
        for name in names:
            if not any(mark in self.pack.read(name + ENDS[1]) for mark in self.MARKS):
                continue
            triple = read_triple(self.pack, name)
            lines = self.assigned(triple, given)
            if lines != triple.extra.error_lines:
                triple.extra.error_lines = lines
                changed.append((name, triple))
        for name, triple in changed:
            write_files(self.pack, name, triple.encode())
        return bool(changed)

    def assigned(self, triple, given):
        """The messages of one module; `given` are the hints of the modules before it."""
        plain = self.without(triple.extra.error_lines)
        imports = {line: self.of_import(line) for line in plain if self.of_import(line)}
        places = [line[1] for line in imports]
        crowded = len(set(places)) < len(places)
        if crowded or any(t in l[6] for l in plain if l[1] in places for t in self.ENTANGLED):
            raise ValueError("several messages on the line of an import")
        # mypy asks for the modules in this order, not in that of lines.
        missing = triple.meta.suppressed
        added = {}
        for line in sorted(imports, key=lambda line: missing.index(imports[line][0])):
            added[line] = [note for note in imports[line][1] if note not in given]
            given.update(added[line])
        result = []
        for index, line in enumerate(plain):
            result.append(line)
            owner = line if line in imports else plain[index - 1] if is_suggestion(line) else None
            follows = index + 1 < len(plain) and is_suggestion(plain[index + 1])
            if owner in added and not (owner is line and follows):
                result += [(*owner[:5], "note", note, owner[7]) for note in added[owner]]
        return result


def is_suggestion(line):
    return line[5] == "note" and line[6].startswith("Did you mean ")


def pattern(template, hole):
    before, _, after = template.partition(hole)
    if hole not in template:
        return re.compile(re.escape(before))
    return re.compile(re.escape(before) + "(.+?)" + re.escape(after))


