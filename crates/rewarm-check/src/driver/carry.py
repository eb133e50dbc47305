"""Carries the result for a module over to a source that differs in comments, blank lines and
docstrings only.

Nothing mypy finds out depends on such an edit but lines: those of messages, of imports, and those
that symbols name (see `symbols.py`). All move with the code they belong to. That holds if no comment that
means something to mypy is touched, every token keeps its column, and no text names a line. Where
symbols change, so do those of the modules that repeat them, and the hashes by which all modules
know the interfaces of these. Whatever is not certain is left to mypy.
"""

import hashlib
import io
import itertools
import os
import re
import tokenize

# Versions whose files and messages were looked through for places that name a line.
CARRIED = ("2.4.",)


class Carry:
    """Sources of the modules in one cache directory, and the way from one to its successor."""

    # Patterns are compiled when they are first used, which few runs come to.
    # A comment that is more than a comment.
    MEANING = r"type:|mypy:|coding[:=]"
    FOREIGN = r"(?i)coding[:=][ \t]*(?![ \t]|utf-?8\b)"
    TEXT_NAMES_LINE = r"\blines? \d|@\d"
    DEFINED = r"(?<= already defined on line )\d+$"
    LONGEST = 1 << 20

    def __init__(self, scratch, pack):
        self.scratch = scratch
        self.pack = pack
        # Names of modules whose edits were carried over.
        self.modules = []

    def place(self, name):
        return os.path.join("sources.rewarm", name)

    def keep(self, name, path, digest):
        """Keeps the source of a module of the project."""
        if os.path.isabs(path) or os.path.isdir(path):
            return
        content = read_file(path)
        if len(content) > self.LONGEST or hashlib.sha1(content).hexdigest() != digest:
            return
        place = self.place(name)
        if place not in self.pack or self.pack.read(place) != content:
            self.pack.write(place, content)

    def carry(self):
        """Carries over what can be, and says which modules those are."""
        from mypy.version import __version__

        path = os.path.join(self.scratch, "edited")
        if not __version__.startswith(CARRIED) or not os.path.exists(path):
            return []
        fields = iter(read_fields(path))
        carried = []
        for name, source in zip(fields, fields):
            name, source = os.fsdecode(name), os.fsdecode(source)
            try:
                triple = read_triple(self.pack, name)
                old, new = self.pack.read(self.place(name)), read_file(source)
                before = triple.interface()
                move = self.move(name, triple, old, new)
                others = move.others(before, triple.interface())
            except (OSError, ValueError, SyntaxError, AssertionError, tokenize.TokenError):
                continue
            status = exact_stat(os.stat)(source)
            triple.meta.mtime = int(status.st_mtime)
            others[name] = triple.encode()
            for other, contents in others.items():
                write_files(self.pack, other, contents)
            self.forget_orders(move.interfaces)
            self.keep(name, triple.meta.path, triple.meta.hash)
            carried += others
            self.modules.append(triple.meta.id)
        return carried

    def forget_orders(self, interfaces):
        """Gives modules their new interfaces in the list of orders (see `orders.py`), and an order
        that equals none, so that the next one which is found counts as another."""
        path = os.path.join(self.pack.directory, "orders.rewarm")
        known = read_table(path)
        known.update((name, (interfaces[name].hex(), "-")) for name in known.keys() & interfaces)
        if interfaces:
            write_table(path, known)

    def move(self, name, triple, old, new):
        meta, extra = triple.meta, triple.extra
        if hashlib.sha1(old).hexdigest() != meta.hash or triple.interface() != meta.interface_hash:
            raise ValueError("not the module that was kept")
        lines = self.lines(old, new)
        move = Move(self, name, meta.id, lines)
        triple.data = move.own_symbols(triple.data)
        meta.interface_hash = triple.interface()
        messages = []
        for path, line, column, end, *rest in extra.error_lines:
            if path is None:
                raise ValueError("a message without a place")
            if line == 1 != lines[1]:
                raise ValueError("a message of the whole file stays on the first line")
            rest[2] = self.message(rest[2], move)
            if (end, rest[0]) in lines.torn:
                raise ValueError("a message ends with a text that differs")
            line, end = (n if n < 1 else lines[n] for n in (line, end))
            messages.append((path, line, column, end, *rest))
        extra.error_lines = messages
        ignored = meta.imports_ignored
        meta.imports_ignored = {lines[line]: codes for line, codes in ignored.items()}
        first = {"builtins", "string.templatelib"}
        names = meta.dependencies + meta.suppressed
        meta.dep_lines = [
            line if name in first and line == 1 else lines[line]
            for name, line in zip(names, meta.dep_lines, strict=True)
        ]
        meta.hash, meta.size = hashlib.sha1(new).hexdigest(), len(new)
        return move

    def message(self, text, move):
        """A message, with the line that it names."""
        # In a package the line can be that of a submodule.
        if re.search(self.DEFINED, text) and not move.is_package:
            return re.sub(self.DEFINED, lambda found: str(move.lines[int(found[0])]), text)
        if re.search(self.TEXT_NAMES_LINE, text):
            raise ValueError("a message names a line")
        return text

    def lines(self, old, new):
        """Where each line of a source went.

        Behind the last difference a logical line that ends in both sources leaves nothing open, and
        all that follows is equal.
        """
        old, new = self.text(old), self.text(new)
        each = old.split("\n"), new.split("\n")
        ends = len(each[0]), len(each[1])
        pairs = zip(reversed(each[0]), reversed(each[1]))
        equal = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        before, after, rest = [], [], range(0)
        for one, other in itertools.zip_longest(self.tokens(old), self.tokens(new)):
            if one is None or other is None:
                raise ValueError("the code differs")
            before.append(one)
            after.append(other)
            if one[0] == other[0] == tokenize.NEWLINE:
                left = ends[0] - one[2][0]
                if left == ends[1] - other[2][0] and left <= equal:
                    rest = range(one[2][0] + 1, ends[0] + 1)
                    break
        found = moved(before, after)
        found.update((line, line + ends[1] - ends[0]) for line in rest)
        return found

    def text(self, source):
        """The text of a source, if its lines are those that everybody counts."""
        text = source.decode("utf-8")
        if any(sign in text for sign in "\r\f\0\ufeff\v\x1c\x1d\x1e\x85\u2028\u2029"):
            raise ValueError("lines are not plain")
        return text

    def tokens(self, text):
        """What a source says, with the lines and columns where it says so."""
        own = True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind, string, start, end, _ = token
            if kind == tokenize.COMMENT and re.search(self.MEANING, string):
                if re.search(self.FOREIGN, string):
                    raise ValueError("the source may be in another encoding")
                # On a line of its own it is something else than behind code.
                yield own, string, start, end
            elif kind not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
                if kind in (tokenize.NEWLINE, tokenize.DEDENT):
                    # A comment moves the end of the line, and of the block.
                    start = end = (start[0], 0) if kind == tokenize.NEWLINE else None
                yield kind, string, start, end
            own = kind in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


def moved(old, new):
    """Where each line with a token went."""
    lines, back = Lines(), {}
    for index, (one, other) in enumerate(zip(old, new, strict=True)):
        if (one[2] is None) != (other[2] is None):
            raise ValueError("the code differs")
        if one[2] is None and one[:2] == other[:2]:
            continue
        (start, column), (end, last) = one[2:]
        (there, other_column), (there_end, other_last) = other[2:]
        if index and old[index - 1][3] in lines.torn and one[0] == tokenize.NEWLINE == other[0]:
            continue
        offsets = range(end - start + 1)
        if one[:2] != other[:2] or (last, end - start) != (other_last, there_end - there):
            if not is_docstring(old, index, other):
                raise ValueError("the code differs")
            lines.torn.add((end, last))
            offsets = (0,)
        if column != other_column:
            raise ValueError("the code was moved within a line")
        for offset in offsets:
            pair = (start + offset, there + offset)
            if lines.setdefault(*pair) != pair[1] or back.setdefault(*pair[::-1]) != pair[0]:
                raise ValueError("lines were joined or split")
    return lines


def is_docstring(tokens, index, other):
    """Whether a token is a text that stands for itself, and would be if it were `other`."""
    around = [tokens[at][0] if 0 <= at < len(tokens) else tokenize.NEWLINE for at in (index - 1, index + 1)]
    begins = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    if around[0] not in begins or around[1] != tokenize.NEWLINE:
        return False
    found = [re.fullmatch(DOCSTRING, token[1]) for token in (tokens[index], other)]
    return all(found) and found[0][1] == found[1][1] and found[0][2] == found[1][2]


# Without an escape, and without what looks like a comment with a meaning.
DOCSTRING = r"(?s)([rR]?)(\"{3}|'{3}|\"|')((?!mypy:|coding)[^\\])*\2"


class Lines(dict):
    """New lines by old ones. A line that holds no token cannot be followed."""

    def __init__(self):
        # Where texts that differ ended.
        self.torn = set()

    def __missing__(self, line):
        raise ValueError("nothing is known of the line")


class Move:
    """What an edit of one module moves in that module and in others of the directory."""

    # The key with its length, and the tag of a whole number.
    FIELD_LINE = rb"\x1cline\x03|\x2ccontext_line\x03"

    def __init__(self, sources, name, module, lines):
        self.sources, self.pack = sources, sources.pack
        self.name, self.module, self.lines = name, module, lines
        self.is_package = os.path.basename(name) == "__init__"
        # Names of classes that change, and fields whose lines do: name, line, column.
        self.names, self.places = {}, {}
        # Modules whose interface changes, with the new one.
        self.interfaces = {}

    def files(self, name):
        return [name + end for end in ENDS]

    def own_symbols(self, data):
        if not re.search(rb"@\d", data) and not re.search(self.FIELD_LINE, data):
            return data
        return Symbols(data, self.own_name, self.own_place).moved()

    def split(self, text):
        """The class in a function of this module that a name begins with: module and dot if there,
        name, line, and the rest."""
        found = re.fullmatch(r"(%s\.)?([^.]+)@(\d+)(\..*)?" % re.escape(self.module), text, re.DOTALL)
        return found and [part or "" for part in found.groups()]

    def own_name(self, text):
        if not re.search(r"@\d", text):
            return text
        parts = self.split(text)
        if parts:
            qualified, name, line, rest = parts
            new = self.lines[int(line)]
            if new != int(line):
                self.names["%s.%s@%s" % (self.module, name, line)] = "%s@%d" % (name, new)
            return "%s%s@%d%s" % (qualified, name, new, rest)
        if "." not in text.partition("@")[0] or self.is_own(text):
            return None
        return text

    def is_own(self, text):
        """Whether a full name is that of something in this module, rather than in a submodule."""
        if not text.startswith(self.module + "."):
            return False
        first = text[len(self.module) + 1 :].partition(".")[0]
        below = os.path.join(os.path.dirname(self.name), first)
        ends = (".data.ff", os.sep + "__init__.data.ff")
        return not self.is_package or not any(below + end in self.pack for end in ends)

    def own_place(self, classes, name, place):
        """The line of a field; it may have been inherited from another module."""
        others = self.field_modules(classes, (self.name,))
        if others:
            inherited = any(self.has_field(other, name, place) for other in others)
            if self.has_field(self.name, name, place) == inherited:
                raise ValueError("a field may come from here or elsewhere")
            if inherited:
                return place[0]
        new = self.lines[place[0]]
        if new != place[0]:
            self.places[(name, *place)] = new
        return new

    def other_place(self, module, classes, name, place):
        """The line of a field of a class in another module; it may have been inherited from here."""
        if (name, *place) not in self.places or not any(self.is_own(c) for c in classes):
            return place[0]
        others = [module, *self.field_modules(classes, (self.name, module))]
        if any(self.has_field(other, name, place) for other in others):
            raise ValueError("a field may come from here or elsewhere")
        return self.places[(name, *place)]

    def field_modules(self, classes, known):
        """The modules beside `known` from which a class can inherit fields with lines."""
        modules = {self.module_of(c) for c in classes if c != "builtins.object"}
        return [
            module
            for module in sorted(modules.difference(known))
            if re.search(self.FIELD_LINE, self.pack.read(module + ENDS[2]))
        ]

    def has_field(self, module, name, place):
        """Whether the source of a module, as it was checked, has a name at a place."""
        line, column = place
        lines = self.pack.read(self.sources.place(module)).decode().split("\n")
        if not 0 < line <= len(lines):
            return False
        if not lines[line - 1].isascii():
            raise ValueError("a column is not that of a character")
        return re.match(re.escape(name) + r"\b", lines[line - 1][column:]) is not None

    def module_of(self, full):
        """The module that has a class, by the name of its files."""
        parts = full.split(".")
        version = self.name.partition(os.sep)[0]
        for count in range(len(parts) - 1, 0, -1):
            stem = os.path.join(version, *parts[:count])
            for name in (stem, os.path.join(stem, "__init__")):
                if name + ENDS[2] in self.pack:
                    return name
        raise ValueError("the module of a class is not known")

    def others(self, old, new):
        """The files of the other modules that change."""
        self.forbid_lines_in_packages()
        if old == new:
            return {}
        hashes, symbols = {old: new}, {}
        self.interfaces[self.name] = new
        modules = list(self.all())
        for name in modules:
            meta, extra, data = self.files(name)
            content = self.pack.read(data)
            if self.mentions(content):
                contents = self.pack.read(meta), self.pack.read(extra), content
                if old not in contents[0] and old not in contents[1]:
                    raise ValueError("a module mentions another version of this one")
                triple = Triple(*contents)
                before = triple.interface()
                if os.path.isabs(triple.meta.path) or before != triple.meta.interface_hash:
                    raise ValueError("not a module of this project")
                triple.data = Symbols(
                    content,
                    self.other_name,
                    lambda *field, name=name: self.other_place(name, *field),
                ).moved()
                self.interfaces[name] = hashes[before] = triple.interface()
                symbols[name] = triple.data
        changed = {}
        pattern = re.compile(b"|".join(re.escape(value) for value in hashes), re.DOTALL)
        shorts = [full.rpartition(".")[2].encode() for full in self.names]
        for name in modules:
            meta, extra, data = self.files(name)
            contents = self.pack.read(meta), self.pack.read(extra)
            if any(short in contents[1] for short in shorts):
                raise ValueError("a message may name a class in a function")
            found = [pattern.sub(lambda match: hashes[match[0]], content) for content in contents]
            if name in symbols or tuple(found) != contents:
                changed[name] = *found, symbols[name] if name in symbols else self.pack.read(data)
        return changed

    def forbid_lines_in_packages(self):
        """A package may have a message that names a line of its submodule."""
        package = os.path.dirname(self.name)
        while os.sep in package:
            extra = os.path.join(package, "__init__" + ENDS[1])
            if extra in self.pack and b" on line " in self.pack.read(extra):
                raise ValueError("a package may name a line of this module")
            package = os.path.dirname(package)

    def all(self):
        """The other modules of the directory."""
        version = self.name.partition(os.sep)[0]
        for name in self.pack.names():
            if name.startswith(version + os.sep) and name.endswith(ENDS[2]):
                if name != self.name + ENDS[2]:
                    yield name[: -len(ENDS[2])]

    def mentions(self, data):
        """Whether symbols may have a name or a line that changes."""
        if any(name.encode() in data for name in self.names):
            return True
        own = (self.module + ".").encode()
        return bool(self.places) and own in data and re.search(self.FIELD_LINE, data) is not None

    def other_name(self, text):
        parts = self.split(text)
        if not parts or not parts[0]:
            return text
        new = self.names.get("%s%s@%s" % tuple(parts[:3]))
        return text if new is None else parts[0] + new + parts[3]
