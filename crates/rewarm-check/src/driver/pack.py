"""Keeps what mypy knows of modules in a few files, instead of three for each of them.

A file system takes its time for thousands of files, and several times as long where many were removed a
moment ago. mypy itself has a database for that; this stands in for the database (see `Database`), and
costs less.

Each process that writes makes one more file, a pack, which gets its name when it is whole and is never
changed. A pack is contents, one after another; then for each of them its name and its length, both
ended by a NUL, with no length for a content that was removed; last where these begin, in eight bytes,
little-endian. The pack with the highest number counts. Names are those that mypy's files would have
in a cache directory.
"""

import os


class Pack:
    """The contents of one cache directory. A fork sees what was published before."""

    # With more packs than this the smaller ones are joined.
    MANY = 8

    def __init__(self, directory):
        self.directory = directory
        # Volume, offset and length by name; `None` for what was removed.
        self.places = {}
        self.volumes = {}
        # What is being written, and its number.
        self.volume, self.number = None, 0
        self.load()

    def load(self):
        """Takes in what others have published. What they have left half done is removed."""
        numbers = []
        for name in os.listdir(self.directory):
            stem, end = os.path.splitext(name)
            if end == ".part":
                remove(os.path.join(self.directory, name))
            elif end == ".pack" and int(stem) not in self.volumes:
                numbers.append(int(stem))
        for number in sorted(numbers):
            volume = Volume(self.path(number))
            self.volumes[number] = volume
            for name, place in volume.places():
                self.places[name] = place

    def path(self, number):
        return os.path.join(self.directory, "%d.pack" % number)

    def names(self):
        return [name for name, place in self.places.items() if place]

    def __contains__(self, name):
        return self.places.get(name) is not None

    def is_filled(self):
        """Whether there is a module."""
        return any(name.endswith(ENDS[0]) for name in self.names())

    def read(self, name):
        place = self.places.get(name)
        if place is None:
            raise FileNotFoundError(name)
        volume, offset, length = place
        return volume.read(offset, length)

    def write(self, name, content):
        self.places[name] = self.writer().add(name, content)

    def remove(self, name):
        if name in self:
            self.places[name] = self.writer().add(name, None)

    def writer(self):
        if self.volume is None:
            self.number = 1 + max(self.volumes, default=0)
            self.volume = NewVolume(self.path(self.number))
        return self.volume

    def publish(self):
        """Gives what was written its name, so that others see it."""
        if self.volume is not None:
            self.volume.publish()
            self.volumes[self.number] = self.volume
            self.volume = None

    def empty(self):
        """Forgets everything. The files are for the caller to remove."""
        self.places.clear()
        self.volumes.clear()
        self.volume = None

    def settle(self):
        """Publishes, and joins packs of which there are many, or which hold little that counts."""
        self.publish()
        live = dict.fromkeys(self.volumes.values(), 0)
        for volume, _, length in filter(None, self.places.values()):
            live[volume] += length
        sizes = {number: volume.size for number, volume in self.volumes.items()}
        wasted = {n for n, volume in self.volumes.items() if 2 * live[volume] < volume.size}
        largest = max(sizes, key=sizes.get, default=None)
        if len(sizes) > self.MANY or largest in wasted:
            self.join(set(sizes) - ({largest} - wasted))

    def join(self, numbers):
        """Makes one pack out of several."""
        olds = {number: self.volumes[number] for number in numbers}
        volumes = set(olds.values())
        for name, place in list(self.places.items()):
            if place is None and len(olds) < len(self.volumes):
                # It may be in one of the others.
                self.places[name] = self.writer().add(name, None)
            elif place is None:
                del self.places[name]
            elif place[0] in volumes:
                self.write(name, self.read(name))
        self.publish()
        for number, old in olds.items():
            os.unlink(old.path)
            del self.volumes[number]


class Volume:
    """A pack that is whole."""

    def __init__(self, path):
        self.path = path
        self.file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size

    def read(self, offset, length):
        return os.pread(self.file, length, offset)

    def places(self):
        """Names, and where their contents are."""
        end = self.size - 8
        begin = int.from_bytes(self.read(end, 8), "little")
        fields = self.read(begin, end - begin).split(b"\0")
        offset = 0
        for name, length in zip(fields[::2], fields[1::2]):
            if length:
                yield os.fsdecode(name), (self, offset, int(length))
                offset += int(length)
            else:
                yield os.fsdecode(name), None


class NewVolume:
    """A pack that is being written."""

    # Bytes that are gathered before they are written.
    GATHERED = 1 << 20

    def __init__(self, path):
        self.path = path
        self.part = path[: -len("pack")] + "part"
        self.file = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self.size = 0
        self.index = []
        self.gathered, self.waiting = [], 0

    def add(self, name, content):
        """Appends a content, or that there is none. Gives its place."""
        place = None
        if content is not None:
            place = self, self.size, len(content)
            self.put(content)
        length = "" if content is None else len(content)
        self.index.append(os.fsencode("%s\0%s\0" % (name, length)))
        return place

    def put(self, content):
        self.gathered.append(content)
        self.waiting += len(content)
        self.size += len(content)
        if self.waiting >= self.GATHERED:
            self.flush()

    def flush(self):
        content = memoryview(b"".join(self.gathered))
        while content:
            content = content[os.write(self.file, content) :]
        self.gathered, self.waiting = [], 0

    def read(self, offset, length):
        self.flush()
        return os.pread(self.file, length, offset)

    def publish(self):
        begin = self.size
        self.put(b"".join(self.index))
        self.put(begin.to_bytes(8, "little"))
        self.flush()
        os.rename(self.part, self.path)


class Database:
    """Stands in for a connection to mypy's own database below one directory of the cache.

    mypy asks for the content of a name, or the time at which it was written, which it does not look
    at here; it sets a content, and removes it.
    """

    def __init__(self, directory, pack, write):
        self.directory = directory
        self.pack = pack
        self.put = write

    def execute(self, statement, values=()):
        name = os.path.join(self.directory, values[0]) if values else ""
        words = statement.split()
        if words[0] == "SELECT" and words[2:] == ["FROM", "files2", "WHERE", "path", "=", "?"]:
            if name not in self.pack:
                return Rows()
            return Rows([({"data": lambda: self.pack.read(name), "mtime": float}[words[1]](),)])
        if words[:3] == ["INSERT", "OR", "REPLACE"]:
            self.put(name, values[2])
        elif words[:2] == ["DELETE", "FROM"]:
            self.pack.remove(name)
        elif words[0] != "PRAGMA":
            raise NotImplementedError(statement)
        return Rows()

    def executescript(self, statements):
        return Rows()

    def commit(self):
        pass

    def close(self):
        pass


class Rows(list):
    """What a statement gives."""

    def fetchall(self):
        return self


def replace_database(pack, write):
    """Has mypy connect to a pack in the place of databases below its directory."""
    import sqlite3
    import sqlite3.dbapi2

    usual = sqlite3.dbapi2.connect

    def connect(path, *arguments, **keywords):
        directory = os.path.relpath(os.path.dirname(os.path.abspath(path)), pack.directory)
        if directory == os.pardir or directory.startswith(os.pardir + os.sep):
            return usual(path, *arguments, **keywords)
        return Database(directory, pack, write)

    sqlite3.connect = sqlite3.dbapi2.connect = connect
    return usual


def understands_database(scratch):
    """Whether this mypy asks its database for what the stand-in knows."""
    import sqlite3
    import sqlite3.dbapi2

    from mypy.build import create_metastore

    directory = os.path.join(scratch, "rehearsal")
    os.mkdir(directory)
    options = mypy_options()
    options.cache_dir, options.sqlite_cache = directory, True
    pack = Pack(directory)
    usual = replace_database(pack, pack.write)
    try:
        store = create_metastore(options, parallel_worker=False)
        told = store.write("a.meta.ff", b"a"), store.read("a.meta.ff"), store.getmtime("a.meta.ff")
        store.commit_path("a.meta.ff")
        store.remove("a.meta.ff")
        store.commit()
        store.close()
        return told == (True, b"a", 0.0) and not pack.names()
    finally:
        sqlite3.connect = sqlite3.dbapi2.connect = usual
