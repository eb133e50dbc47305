"""Moves lines in the symbols of a module, as mypy stores them (`data.ff`).

Symbols name lines in two places. A class in a function is called NAME@LINE in the table of its
module and wherever it is mentioned, in other modules too. And the plugins for dataclasses and attrs
keep the places of fields. Nothing else is touched: each value is found by its place in the format,
a text of the user's is left as it is, and what is unknown is refused.
"""

import re


class Symbols:
    """The symbols of one module as a tree of tagged values."""

    LITERALS = (0, 1, 2)
    INT, STR, BYTES, FLOAT = 3, 4, 5, 6
    COMPLEX, SENTINEL = 7, 8
    LIST, TUPLE, DICT = 20, 24, 30
    INTS, STRS, BYTESES = 21, 22, 23
    TYPE_INFO, NODE, INSTANCE, END = 58, 61, 80, 255
    # Classes of mypy that are fields until an end.
    CLASSES = frozenset((*range(50, 62), *range(100, 118), 150, 151))
    # Fields in which a text stands that is the user's own, by class and number.
    OWN = {(54, 5), (114, 1), (113, 2), (113, 3), (104, 0), (104, 2), (104, 3), (106, 2), (150, 1)}
    OWN.add((50, 3))
    # Fields in which a text of the user's may be mixed with names.
    MIXED = {(51, 5), (52, 8), (58, 22)}
    BASES, METADATA = (TYPE_INFO, 9), (TYPE_INFO, 17)
    # Where plugins note lines, and plugins that note none.
    LINES = {"dataclass": "line", "attrs": "context_line"}
    LINES.update(dict.fromkeys(("dataclass_tag", "attrs_tag", "namedtuple")))

    def __init__(self, data, name, place):
        """`name` gives the new form of a name; `place` the new line of a field, for the classes
        it can come from, its name, and its line and column."""
        self.data = data
        self.name = name
        self.place = place
        # The class that is being read and all it inherits from.
        self.bases = []

    def moved(self):
        """The symbols after the move."""
        parts = []
        end = self.value(0, parts, (0, 0))
        if end != len(self.data):
            raise ValueError("the symbols do not end where they should")
        return b"".join(parts)

    def value(self, at, parts, field):
        """Appends the value at `at` to `parts` and returns its end."""
        data = self.data
        tag = data[at]
        if tag == self.STR:
            start, end = self.text(at + 1)
            parts.append(b"\4" + self.renamed(data[at + 1 : end], data[start:end], field))
            return end
        if field == self.METADATA:
            return self.metadata(at, parts)
        if tag in self.CLASSES or tag == self.INSTANCE and data[at + 1] == 82:
            return self.fields(at, parts, tag)
        if tag == self.INSTANCE:
            if data[at + 1] != 81:
                end = at + 2
                if not 83 <= data[at + 1] <= 87:
                    raise ValueError("a class in an unknown form")
                parts.append(data[at:end])
                return end
            start, end = self.text(at + 2)
            parts.append(data[at : at + 2])
            parts.append(self.renamed(data[at + 2 : end], data[start:end], field))
            return end
        if tag in (self.LIST, self.TUPLE):
            count, end = self.number(at + 1)
            parts.append(data[at:end])
            for _ in range(count):
                end = self.value(end, parts, field)
            return end
        if tag == self.STRS:
            count, end = self.number(at + 1)
            parts.append(data[at:end])
            for _ in range(count):
                begin = end
                start, end = self.text(end)
                parts.append(self.renamed(data[begin:end], data[start:end], field))
            return end
        if tag == self.DICT:
            return self.table(at, parts, field)
        end = self.plain(at, tag)
        parts.append(data[at:end])
        return end

    def plain(self, at, tag):
        """The end of a value that names nothing."""
        if tag in self.LITERALS:
            return at + 1
        if tag == self.INT:
            return self.number(at + 1)[1]
        if tag == self.FLOAT:
            return at + 9
        if tag == self.COMPLEX:
            return at + 17
        if tag == self.BYTES:
            return self.text(at + 1)[1]
        if tag == self.SENTINEL:
            return self.text(self.text(at + 1)[1])[1]
        if tag in (self.INTS, self.BYTESES):
            count, end = self.number(at + 1)
            for _ in range(count):
                end = self.number(end)[1] if tag == self.INTS else self.text(end)[1]
            return end
        raise ValueError("a value of an unknown sort")

    def fields(self, at, parts, tag):
        begin = at + 1 + (tag == self.INSTANCE)
        parts.append(self.data[at:begin])
        number, end = 0, begin
        while self.data[end] != self.END:
            begin = end
            end = self.value(end, parts, (tag, number))
            if (tag, number) == self.BASES:
                self.bases = self.texts(begin)
            number += 1
        parts.append(b"\xff")
        return end + 1

    def table(self, at, parts, field):
        """A dictionary. Tables of symbols are sorted by name, so a new name may move an entry."""
        count, end = self.number(at + 1)
        parts.append(self.data[at:end])
        entries, is_sorted = [], True
        for _ in range(count):
            begin = end
            start, end = self.text(end)
            key, entry = self.data[start:end], []
            if self.data[end] == self.NODE:
                head = self.renamed(self.data[begin:end], key, (self.NODE, -1))
                if head != self.data[begin:end]:
                    is_sorted = False
                    key = head[self.text(0, head)[0] :]
            else:
                head = self.data[begin:end]
            end = self.value(end, entry, field)
            entries.append((key.decode(), head, entry))
        if not is_sorted:
            entries.sort(key=lambda entry: entry[0])
        for _, head, entry in entries:
            parts.append(head)
            parts += entry
        return end

    def metadata(self, at, parts):
        """What plugins noted of a class."""
        import mypy.cache as cache

        skipped = []
        end = self.value(at, skipped, (self.TYPE_INFO, -1))
        if b"".join(skipped) != self.data[at:end]:
            raise ValueError("a plugin names a line in a name")
        buffer = cache.ReadBuffer(self.data[at:end])
        values = cache.read_json(buffer)
        for plugin, noted in values.items():
            if plugin not in self.LINES:
                raise ValueError("an unknown plugin may name a line")
            key = self.LINES[plugin]
            for attribute in noted["attributes"] if key else ():
                place = attribute[key], attribute[key.replace("line", "column")]
                attribute[key] = self.place(self.bases, attribute["name"], place)
        written = cache.WriteBuffer()
        cache.write_json(written, values)
        parts.append(written.getvalue())
        return end

    def renamed(self, encoded, text, field):
        """A text with its length before it."""
        if b"@" not in text or field in self.OWN:
            return encoded
        new = self.name(text.decode())
        if new is None or field in self.MIXED and re.search(rb"@\d", text):
            raise ValueError("a text may name a line")
        import mypy.cache as cache

        buffer = cache.WriteBuffer()
        cache.write_str_bare(buffer, new)
        return buffer.getvalue()

    def text(self, at, data=None):
        """Begin and end of the text whose length is at `at`."""
        length, start = self.number(at, data)
        return start, start + length

    def texts(self, at):
        count, end = self.number(at + 1)
        found = []
        for _ in range(count):
            start, end = self.text(end)
            found.append(self.data[start:end].decode())
        return found

    def number(self, at, data=None):
        """The whole number at `at` and its end."""
        data = self.data if data is None else data
        first = data[at]
        if not first & 1:
            return (first >> 1) - 10, at + 1
        if not first & 2:
            return (int.from_bytes(data[at : at + 2], "little") >> 2) - 100, at + 2
        if not first & 4:
            return (int.from_bytes(data[at : at + 4], "little") >> 3) - 10000, at + 4
        if first != 15:
            raise ValueError("a number in an unknown form")
        # Of longer ones only the end is wanted.
        size, start = self.number(at + 1, data)
        return 0, start + (size >> 1)
