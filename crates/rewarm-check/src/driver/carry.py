"""Carries the result for a module over to a source that differs in comments and blank lines only.

Nothing mypy finds out depends on such an edit but the lines in messages and the lines of imports, and
both move with the code they belong to. That holds if no comment that means something to mypy is
touched, every token keeps its column, and nothing else names a line: neither the module's symbols
(classes in functions and dataclasses do) nor a text. Whatever is not certain is left to mypy.
"""

import hashlib
import io
import os
import re
import tokenize

# Versions whose files and messages were looked through for places that name a line.
CARRIED = ("2.4.",)


class Carry:
    """Sources of the modules in one cache directory, and the way from one to its successor."""

    # A comment that is more than a comment.
    MEANING = re.compile(r"type:|mypy:|coding[:=]")
    FOREIGN = re.compile(r"coding[:=][ \t]*(?![ \t]|utf-?8\b)", re.IGNORECASE)
    # In symbols: a class in a function, and the whole numbers (tag 3) that the plugins for
    # dataclasses and attrs keep under such keys.
    NAMES_LINE = re.compile(rb"@\d|(?:line|column)\x03")
    TEXT_NAMES_LINE = re.compile(r"\blines? \d|@\d")
    LONGEST = 1 << 20

    def __init__(self, scratch, cache):
        self.scratch = scratch
        self.cache = cache

    def place(self, name):
        return os.path.join(self.cache, "sources.rewarm", name)

    def keep(self, name, path, digest):
        """Keeps the source of a module of the project."""
        if os.path.isabs(path) or os.path.isdir(path):
            return
        content = read_file(path)
        if len(content) > self.LONGEST or hashlib.sha1(content).hexdigest() != digest:
            return
        place = self.place(name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        remove(place)
        with open(place, "wb") as file:
            file.write(content)

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
                triple = read_triple(os.path.join(self.cache, name))
                old, new = read_file(self.place(name)), read_file(source)
                self.move(triple, old, new)
            except (OSError, ValueError, SyntaxError, AssertionError, tokenize.TokenError):
                continue
            status = exact_stat(os.stat)(source)
            triple.meta.mtime = int(status.st_mtime)
            write_triple(os.path.join(self.cache, name), triple)
            self.keep(name, triple.meta.path, triple.meta.hash)
            carried.append(name)
        return carried

    def move(self, triple, old, new):
        meta, extra = triple.meta, triple.extra
        if hashlib.sha1(old).hexdigest() != meta.hash or self.NAMES_LINE.search(triple.data):
            raise ValueError("not to be carried over")
        lines = moved(self.tokens(old), self.tokens(new))
        messages = []
        for path, line, column, end, *rest in extra.error_lines:
            if self.TEXT_NAMES_LINE.search(rest[2]) or path is None:
                raise ValueError("a message names a line")
            if line == 1 != lines[1]:
                raise ValueError("a message of the whole file stays on the first line")
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

    def tokens(self, source):
        """What a source says, with the lines and columns where it says so."""
        text = source.decode("utf-8")
        if any(sign in text for sign in "\r\f\0\ufeff\v\x1c\x1d\x1e\x85\u2028\u2029"):
            raise ValueError("lines are not plain")
        found = []
        own = True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind, string, start, end, _ = token
            if kind == tokenize.COMMENT and self.MEANING.search(string):
                if self.FOREIGN.search(string):
                    raise ValueError("the source may be in another encoding")
                # On a line of its own it is something else than behind code.
                found.append((own, string, start, end))
            elif kind not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
                if kind in (tokenize.NEWLINE, tokenize.DEDENT):
                    # A comment moves the end of the line, and of the block.
                    start = end = (start[0], 0) if kind == tokenize.NEWLINE else None
                found.append((kind, string, start, end))
            own = kind in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
        return found


def moved(old, new):
    """Where each line with a token went."""
    lines, back = {}, {}
    for one, other in zip(old, new, strict=True):
        if one[:2] != other[:2] or (one[2] is None) != (other[2] is None):
            raise ValueError("the code differs")
        if one[2] is None:
            continue
        (start, column), (end, last) = one[2:]
        (there, other_column), (there_end, other_last) = other[2:]
        if (column, last, end - start) != (other_column, other_last, there_end - there):
            raise ValueError("the code was moved within a line")
        for offset in range(end - start + 1):
            pair = (start + offset, there + offset)
            if lines.setdefault(*pair) != pair[1] or back.setdefault(*pair[::-1]) != pair[0]:
                raise ValueError("lines were joined or split")
    return Lines(lines)


class Lines(dict):
    """A line that holds no token cannot be followed."""

    def __missing__(self, line):
        raise ValueError("nothing is known of the line")


