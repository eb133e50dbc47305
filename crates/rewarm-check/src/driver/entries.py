"""Takes modules out of mypy's cache directory, and puts them back elsewhere.

A module is three files: what mypy knows of its interface (`meta.ff`), its messages (`meta_ex.ff`)
and its symbols (`data.ff`). They name paths of this machine, and hashes that cover such paths.
Here they are brought into a form that is the same everywhere: a path below an anchor is written as
NUL, anchor, colon and the rest; a hash is that of the neutral symbols; times are zero; hints that are
given once per run are left out. So is a module that would still name a directory of this machine.

Files hold fields, each after its length in eight bytes, little-endian. `anchors` has name and
directory, deepest first. `restore` has name, source, circumstances (see `circumstances.py`), and the three files. `export` has name,
source, module, interface, dependencies (module and hash in hexadecimal, each ended by a NUL),
circumstances, and the three files.
"""

import hashlib
import os
import stat
import sys


ENDS = (".meta.ff", ".meta_ex.ff", ".data.ff")


class Triple:
    """The three files of one module, decoded by the installed mypy's own classes."""

    def __init__(self, meta, extra, data):
        import mypy.cache as cache

        self.versions = bytes(meta[:2])
        self.meta = cache.CacheMeta.read(cache.ReadBuffer(bytes(meta[2:])), "")
        self.extra = cache.CacheMetaEx.read(cache.ReadBuffer(bytes(extra)))
        self.data = bytes(data)
        if self.meta is None or self.extra is None:
            raise ValueError("not a module of this mypy")

    def interface(self):
        """The hash of the interface, as mypy computes it."""
        from mypy.util import json_dumps

        return hashlib.sha1(self.data + json_dumps(self.meta.plugin_data)).digest()

    def encode(self):
        import mypy.cache as cache

        meta, extra = cache.WriteBuffer(), cache.WriteBuffer()
        self.meta.write(meta)
        self.extra.write(extra)
        return self.versions + meta.getvalue(), extra.getvalue(), self.data

    def set_path(self, path):
        """Replaces the source's path, which the symbols repeat near their end."""
        import mypy.cache as cache

        old, new = cache.WriteBuffer(), cache.WriteBuffer()
        cache.write_str(old, self.meta.path)
        cache.write_str(new, path)
        before, found, after = self.data.rpartition(old.getvalue())
        rest = cache.ReadBuffer(after)
        cache.read_bool(rest)
        cache.read_str_list(rest)
        if not found or cache.read_tag(rest) != cache.END_TAG:
            raise ValueError("the symbols do not end with their path")
        self.data = before + new.getvalue() + after
        self.meta.path = path

    def translate(self, hashes):
        """Replaces hashes of dependencies by what `hashes` has for them: a pair, old and new."""
        for holder in (self.meta, self.extra):
            values = []
            for module, value in zip(holder.dependencies, holder.dep_hashes, strict=True):
                old, new = hashes.get(module, (value, value))
                if value != old:
                    raise ValueError("a dependency is not the one it was checked with")
                values.append(new)
            holder.dep_hashes = values


class Entries:
    """The modules of one cache directory."""

    def __init__(self, scratch, pack):
        self.scratch = scratch
        self.pack, self.cache = pack, pack.directory
        fields = iter(read_fields(os.path.join(scratch, "anchors")))
        self.anchors = [(os.fsdecode(name), os.fsdecode(path)) for name, path in zip(fields, fields)]
        # Modules whose hash here differs from that of the neutral form: this one and that one.
        self.hashes = {}
        self.load_hashes()

    def load_hashes(self):
        try:
            with open(os.path.join(self.cache, "hashes.rewarm")) as file:
                for line in file:
                    module, here, neutral = line.split()
                    self.hashes[module] = (bytes.fromhex(here), bytes.fromhex(neutral))
        except OSError:
            pass

    def keep_hashes(self):
        path = os.path.join(self.cache, "hashes.rewarm")
        lines = [f"{m} {h.hex()} {n.hex()}\n" for m, (h, n) in sorted(self.hashes.items())]
        remove(path)
        with open(path, "w") as file:
            file.writelines(lines)

    def neutral(self, path):
        """The neutral form of a path; relative ones are neutral as they are."""
        if not os.path.isabs(path):
            return path
        for name, directory in self.anchors:
            if path.startswith(directory + os.sep):
                return "\0%s:%s" % (name, path[len(directory) + 1 :])
        raise ValueError("a path that is nowhere else")

    def local(self, path):
        if not path.startswith("\0"):
            return path
        anchor, _, rest = path[1:].partition(":")
        for name, directory in self.anchors:
            if name == anchor:
                return os.path.join(directory, rest)
        raise ValueError("an anchor that is not here")

    def restore(self):
        """Puts the modules that are wanted into the cache directory, and says which ones."""
        path = os.path.join(self.scratch, "restore")
        if not os.path.exists(path):
            return []
        fields = iter(read_fields(path))
        triples, around = [], {}
        for name, source, text, *files in zip(*[fields] * 6):
            try:
                triple = Triple(*files)
                self.settle(triple, os.fsdecode(source))
            except (ValueError, OSError, AssertionError):
                continue
            triples.append((os.fsdecode(name), triple))
            around[os.fsdecode(name)] = text.decode()
        arrived = {module: (there, here) for module, (here, there) in self.hashes.items()}
        for name, triple in triples:
            # A dependency with another hash is none of those here: mypy checks the module again.
            for holder in (triple.meta, triple.extra):
                pairs = zip(holder.dependencies, holder.dep_hashes)
                swap = [arrived[m][1] if m in arrived and arrived[m][0] == h else h for m, h in pairs]
                holder.dep_hashes = swap
            write_files(self.pack, name, triple.encode())
        self.keep_hashes()
        Circumstances(self.cache).keep(around)
        return [name for name, _ in triples]

    def settle(self, triple, source):
        """Gives a neutral module the paths, times and hash that it has here."""
        meta = triple.meta
        status = os.stat(source)
        if not stat.S_ISDIR(status.st_mode):
            content = read_file(source)
            if hashlib.sha1(content).hexdigest() != meta.hash or len(content) != meta.size:
                raise ValueError("another source")
        meta.mtime = int(exact_stat(os.stat)(source).st_mtime)
        there = meta.interface_hash
        if meta.path.startswith("\0"):
            triple.set_path(self.local(meta.path))
            meta.interface_hash = triple.interface()
            self.hashes[meta.id] = (meta.interface_hash, there)
        else:
            self.hashes.pop(meta.id, None)
        lines = [(e[0] and self.local(e[0]), *e[1:]) for e in triple.extra.error_lines]
        triple.extra.error_lines = lines

    def export(self, names):
        """Writes down the modules of those names that can be used elsewhere."""
        triples = []
        carry = Carry(self.scratch, self.pack)
        around = Circumstances(self.cache).known
        for name in sorted(names):
            try:
                triple = read_triple(self.pack, name)
                meta = triple.meta
                here, source = meta.interface_hash, os.path.abspath(meta.path)
                self.hashes.pop(meta.id, None)
                carry.keep(name, meta.path, meta.hash)
                if triple.interface() != here or Orders.are_told(triple.extra.error_lines):
                    continue
                if name not in around:
                    continue
                if os.path.isabs(meta.path):
                    triple.set_path(self.neutral(meta.path))
                    meta.interface_hash = triple.interface()
                    self.hashes[meta.id] = (here, meta.interface_hash)
            except (ValueError, OSError, AssertionError):
                continue
            triples.append((name, source, around[name], triple))
        hints = Hints(self.pack)
        with open(os.path.join(self.scratch, "export"), "wb") as file:
            for name, source, text, triple in triples:
                try:
                    triple.extra.error_lines = hints.without(triple.extra.error_lines)
                    fields = self.fields(name, source, text, triple)
                except (ValueError, AssertionError):
                    continue
                for field in fields:
                    file.write(len(field).to_bytes(8, "little") + field)
        self.keep_hashes()

    def fields(self, name, source, text, triple):
        meta, extra = triple.meta, triple.extra
        meta.mtime = meta.data_mtime = 0
        triple.translate(self.hashes)
        extra.error_lines = [(e[0] and self.neutral(e[0]), *e[1:]) for e in extra.error_lines]
        files = triple.encode()
        for _, directory in self.anchors:
            if any(os.fsencode(directory) in content for content in files):
                raise ValueError("a directory of this machine is named")
        pairs = [pair for h in (meta, extra) for pair in zip(h.dependencies, h.dep_hashes)]
        needs = "".join("%s\0%s\0" % (module, value.hex()) for module, value in pairs)
        texts = (os.fsencode(name), os.fsencode(source), meta.id.encode())
        return (*texts, meta.interface_hash, needs.encode(), text.encode(), *files)


def read_triple(pack, name):
    """The module whose files begin with `name`."""
    return Triple(*[pack.read(name + end) for end in ENDS])


def read_messages(pack, name):
    """The messages of the module whose files begin with `name`."""
    import mypy.cache as cache

    extra = cache.CacheMetaEx.read(cache.ReadBuffer(pack.read(name + ENDS[1])))
    if extra is None:
        raise ValueError("not a module of this mypy")
    return extra.error_lines


def write_files(pack, name, contents):
    """Sets the three files of a module."""
    for end, content in zip(ENDS, contents):
        pack.write(name + end, content)


def read_file(path):
    with open(path, "rb", buffering=0) as file:
        return file.read()


def read_fields(path):
    content, fields, at = memoryview(read_file(path)), [], 0
    while at < len(content):
        end = at + 8 + int.from_bytes(content[at : at + 8], "little")
        fields.append(bytes(content[at + 8 : end]))
        at = end
    return fields


def read_table(path):
    """What a file has for each name: fields after tabs. Nothing if it cannot be read."""
    try:
        with open(path) as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
    except OSError:
        return {}
    return {name: tuple(fields) for name, *fields in rows}


def write_table(path, table):
    # The file may be shared with the directory it was copied from.
    remove(path)
    with open(path, "w") as file:
        file.writelines("\t".join((name, *fields)) + "\n" for name, fields in sorted(table.items()))


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


