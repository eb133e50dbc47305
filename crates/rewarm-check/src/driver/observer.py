"""Notes what a run of mypy depends on, from within its process.

What it opens and lists is seen by audit events, what it asks the file system by mypy's own memory of that,
what it replaces in its cache and which variables it reads by functions put in the place of the
library's.
"""

import gc
import hashlib
import os
import stat
import sys


class Observer:
    """Notes what a run of mypy depends on beside its arguments."""

    # What these run or ask cannot be observed from here.
    OPAQUE = {
        "subprocess.Popen": "mypy started another program",
        "os.system": "mypy started another program",
        "os.exec": "mypy started another program",
        "os.posix_spawn": "mypy started another program",
        "os.spawn": "mypy started another program",
        "socket.connect": "mypy or a plugin opened a network connection",
    }
    EFFECTS = ("junit_xml", "install_types", "pdb", "timing_stats", "line_checking_stats")
    EFFECTS += ("report_dirs", "verbosity", "dump_deps", "dump_graph", "dump_type_stats")
    EFFECTS += ("dump_build_stats", "dump_inference_stats", "quickstart_file", "num_workers")
    EFFECTS += ("export_ref_info", "bazel", "cache_map")

    def __init__(self, path, again, scratch, pack):
        self.path = path
        # Where the messages go in the order of a cold run.
        self.again = again
        self.scratch = scratch
        self.pack, self.cache = pack, pack.directory if pack else ""
        self.progress = open_progress(scratch)
        self.own = tuple(entry + os.sep for entry in (scratch, self.cache) if entry)
        self.found = {}
        # What plugins were made of and asked for.
        self.plugged = set()
        self.fscache = None
        self.options = None
        self.written = {"meta_ex": 0, "meta": 0}
        # Modules whose messages were written, by the names of their files.
        self.checked = set()
        # Modules that were found elsewhere than when they were checked.
        self.moved = set()
        self.modules = set(sys.modules)
        # Whether the cache held modules when the run began.
        self.seeded = bool(pack) and pack.is_filled()
        # From nothing there is nothing to compare with.
        self.reasons = Reasons(self.seeded, pack)
        self.calm = False

    def start(self):
        self.exit, self.getenv = os._exit, os.getenv
        os._exit, os.getenv = self.on_exit, self.on_getenv
        if self.pack:
            replace_database(self.pack, self.on_write)
        os.stat = exact_stat(os.stat)
        watch_environment(lambda name: self.note("v", name))
        sys.addaudithook(self.on_event)

    def note(self, tag, value):
        value = os.fsdecode(value)
        self.found.setdefault(tag, set()).add(value)
        if tag in ("f", "D", "v") and self.is_plugin():
            self.plugged.add((tag, value))

    def is_plugin(self):
        """Whether code that came in with a plugin is at work."""
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            if name not in self.modules and not name.startswith("mypy."):
                return True
            frame = frame.f_back
        return False

    def on_event(self, event, values):
        if self.calm:
            return
        if event == "open":
            path, mode, flags = values
            reads = not (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            is_own = isinstance(path, str) and path.startswith(self.own)
            if reads and not is_own and isinstance(path, (str, bytes)):
                self.note("f", self.absolute(path))
        elif event in ("os.listdir", "os.scandir"):
            path = "." if values[0] is None else values[0]
            if isinstance(path, (str, bytes)):
                self.note("p" if self.is_import() else "D", self.absolute(path))
        elif event in self.OPAQUE:
            self.note("x", self.OPAQUE[event])

    def is_import(self):
        caller = sys._getframe(2).f_code.co_filename
        return caller == "<frozen importlib._bootstrap_external>"

    def absolute(self, path):
        return os.path.abspath(os.fsdecode(path))

    def on_getenv(self, name, default=None):
        # Asked right after the configuration was read: mypy's view of the file system exists and
        # little else does.
        if name == "MYPY_CACHE_DIR" and self.fscache is None:
            from mypy.fscache import FileSystemCache
            from mypy.options import Options

            for value in gc.get_objects():
                if type(value) is FileSystemCache:
                    self.fscache = value
                elif type(value) is Options:
                    self.options = value
        return self.getenv(name, default)

    def on_write(self, file, content):
        """mypy sets a content in its cache."""
        import sqlite3

        stem, _, end = file.rpartition(".")
        name, _, kind = stem.rpartition(".")
        if kind == "meta" and self.seeded and file in self.pack:
            if meta_path(self.pack.read(file)) not in (None, meta_path(content)):
                self.moved.add(name)
        self.reasons.keep(file)
        try:
            self.pack.write(file, content)
        except OSError as error:
            self.note("torn", "")
            raise sqlite3.OperationalError(str(error))
        if kind in self.written:
            self.written[kind] += 1
        if kind == "meta_ex" and end == "ff":
            self.checked.add(name)
            self.advance()
            # What is known of a module stays to the end: to go through it over and over in search of
            # garbage costs more than the little that is found.
            gc.freeze()

    def advance(self):
        try:
            if self.progress is not None:
                total = self.total() if len(self.checked) == 1 else b""
                os.write(self.progress, total + b".")
        except Exception:
            # Nobody needs to know.
            self.progress = None

    def total(self):
        """How many modules there are, if all have to be checked."""
        if self.seeded:
            return b""
        kind = sys.modules["mypy.build"].BuildManager
        # Made before all modules, so it comes early.
        manager = next((value for value in gc.get_objects() if type(value) is kind), None)
        cycles = manager.scc_by_id.values() if manager else ()
        return b"%d\n" % sum(len(cycle.mod_ids) for cycle in cycles)

    def on_exit(self, code):
        self.conclude()
        self.exit(code)

    def conclude(self):
        self.calm = True
        # Whatever goes wrong here costs the entry, never mypy's answer.
        try:
            self.finish()
        except Exception:
            pass

    def finish(self):
        self.take_modules()
        build = self.take_build()
        graph = self.take_graph(build)
        checked = [(name, state) for name, state in graph if name in self.checked]
        self.take_circumstances(build, graph)
        self.take_contexts(graph)
        self.take_sequence(build, checked)
        self.take_cache()
        self.take_options()
        self.publish()
        report = Report(self.path)
        for tag, values in self.found.items():
            for value in sorted(values):
                if tag not in ("f", "p", "l", "D") or not self.is_own(value):
                    report.add(tag, value)
        for name in sorted(self.checked):
            report.add("w", name)
        for reason in self.reasons.all():
            report.add("m", reason)
        if self.moved - self.checked:
            # mypy keeps messages with the path that the module had, and shows them so.
            report.add("cold", "")
        for name, state in graph:
            if not state.ignore_all:
                report.add("g", name)
        if self.cache and self.take_orders(checked):
            report.add("moved", "")
        # A module that is found elsewhere is written too, but for its messages.
        report.add("rechecked", str(self.written["meta_ex" if keeps_messages() else "meta"]))
        report.add("end", "")
        report.close()

    def publish(self):
        try:
            if self.pack:
                self.pack.publish()
        except OSError:
            self.note("torn", "")

    def is_own(self, path):
        noise = os.sep + "__pycache__" + os.sep in path or path.startswith("/dev/")
        return noise or (path + os.sep).startswith(self.own)

    def take_cache(self):
        """mypy's own record of every path it asked about, found or not.

        Its parser reads sources without an audit event, and a module out of the cache is not
        read at all; but each was looked up here first.
        """
        found = getattr(self.fscache, "stat_or_none_cache", None)
        if found is None and hasattr(self.fscache, "stat_cache"):
            # Before 1.14.
            found = dict.fromkeys(self.fscache.stat_error_cache)
            found.update(self.fscache.stat_cache)
        if found is None:
            self.note("x", "this version of mypy does not show what it read")
            return
        places = Places()
        for path, status in found.items():
            absolute = places.take(path)
            if status is not None and stat.S_ISREG(status.st_mode):
                self.found.setdefault("f", set()).add(absolute)
        self.found.setdefault("p", set()).update(places.nearest.values())
        for path in list(self.fscache.listdir_cache) + list(self.fscache.listdir_error_cache):
            path = self.absolute(path)
            self.found.get("D", set()).discard(path)
            self.note("l", path)

    def take_build(self):
        """What mypy made of the sources, if it came to an end."""
        if not self.cache or self.options is None:
            return None
        return newest(sys.modules["mypy.build"].BuildResult)

    def take_graph(self, build):
        """The modules of the build in the order in which they were found, with the names of their
        files."""
        names = []
        for state in build.graph.values() if build else []:
            if state.path:
                name = state.id.replace(".", os.sep)
                if os.path.basename(state.path).startswith("__init__.py"):
                    name = os.path.join(name, "__init__")
                name = os.path.join("%d.%d" % self.options.python_version, name)
                names.append((name, state))
        return names

    def take_circumstances(self, build, graph):
        """Keeps those of the modules that were checked. Notes the others that were checked under
        different ones."""
        if not self.cache:
            return
        try:
            known, modules = Circumstances(self.cache), dict(graph)
            around = Surroundings(build.manager, modules, read_names(self.scratch))
            trees = [name for name in self.checked if name in modules and modules[name].tree]
            for name in self.checked:
                known.known.pop(name, None)
            known.keep({name: around.of(name) for name in trees})
            for name in set(modules) - self.checked:
                if name not in known.known or not around.fit(name, known.known[name]):
                    self.note("u", name)
        except Exception:
            self.note("lost", "")

    def take_contexts(self, graph):
        """Notes if messages say by whom their module was imported first, or would have to.

        That follows from the targets and from lines of other modules.
        """
        if not self.cache or not getattr(self.options, "show_error_context", False):
            return
        for name, state in graph:
            if state.ignore_all:
                continue
            lines = read_messages(self.pack, name)
            # A line about an import is one without a path.
            if lines and (state.import_context or any(line[0] is None for line in lines)):
                self.note("cold", "")
                return

    def take_sequence(self, build, checked):
        """Has the messages printed in the order of a cold run, where they may be in another one: if
        some modules were checked and others not."""
        if not self.seeded or not checked:
            return
        try:
            read = {s.id: read_messages(self.pack, name) for name, s in checked}
            Sequence(build, read).print(self.again)
        except Exception:
            remove(self.again)

    def take_orders(self, checked):
        """Keeps the order of names in the modules that were checked, and says whether that of one
        is another than before."""
        trees = [(name, s.interface_hash, s.tree) for name, s in checked if s.tree]
        return Orders(self.cache).take(trees) or len(trees) < len(self.checked)

    def take_modules(self):
        """The files of modules that were imported after mypy itself."""
        for name in set(sys.modules) - self.modules:
            origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
            if origin and os.path.isabs(origin):
                self.note("f", origin)
                self.plugged.add(("f", origin))

    def take_plugins(self):
        """Compares what plugins are made of with what they were when the cache was filled.

        mypy looks at a plugin's own file only, not at what that imports and reads.
        """
        digest = hashlib.sha256()
        for tag, value in sorted(self.plugged):
            if tag == "f":
                try:
                    with open(value, "rb") as file:
                        content = hashlib.sha256(file.read()).hexdigest()
                except OSError:
                    content = "absent"
            elif tag == "D":
                content = repr(sorted(set(os.listdir(value)) - {"__pycache__"}))
            else:
                content = repr(dict(os.environ) if value == "*" else os.environ.get(value))
            digest.update(repr((tag, value, content)).encode("utf-8", "surrogateescape"))
        path = os.path.join(self.cache, "plugins.rewarm")
        try:
            with open(path) as file:
                known = file.read()
        except OSError:
            known = ""
        if known != digest.hexdigest():
            self.note("stale", "")
            with open(path, "w") as file:
                file.write(digest.hexdigest())

    def take_options(self):
        if self.options is None:
            return
        if self.options.plugins and self.cache:
            self.note("plugged", "")
            self.take_plugins()
        for name in self.EFFECTS:
            if getattr(self.options, name, None):
                self.note("x", "mypy's option `%s` has effects beside the answer" % name)
        follow = [self.options.follow_imports]
        follow += [o.get("follow_imports") for o in self.options.per_module_options.values()]
        # Messages then depend on other modules, or on what was said before.
        modes = ("show_absolute_path", "show_error_code_links")
        if getattr(self.options, "many_errors_threshold", -1) >= 0:
            self.note("cold", "")
        text = getattr(self.options, "build_type", 0) == 2
        if text or "error" in follow or any(getattr(self.options, m, False) for m in modes):
            self.note("cold", "")
        # Older versions do not keep the messages of every module.
        if not keeps_messages():
            self.note("cold", "")


class Places:
    """The directories of paths, each worked out once: there are thousands of paths in the same few."""

    def __init__(self):
        # Absolute, by what paths begin with.
        self.known = {}
        # For each of these the directory that shows what is there: itself, or the nearest one that is
        # there.
        self.nearest = {}

    def take(self, path):
        """Takes in the directory of a path; gives the path, absolute."""
        directory, slash, name = path.rpartition(os.sep)
        if name in ("", os.curdir, os.pardir):
            directory, slash, name = os.path.abspath(path).rpartition(os.sep)
        place = self.known.get(directory + slash)
        if place is None:
            place = self.known[directory + slash] = os.path.abspath(directory + slash)
            self.find(place)
        return place + name if place.endswith(os.sep) else place + os.sep + name

    def find(self, place):
        if place not in self.nearest:
            above = os.path.dirname(place)
            is_there = place == above or os.path.isdir(place)
            self.nearest[place] = place if is_there else self.find(above)
        return self.nearest[place]


def keeps_messages():
    """Whether this mypy keeps the messages of every module."""
    return hasattr(sys.modules.get("mypy.cache"), "CacheMetaEx")


def read_names(scratch):
    """The last parts of the names of all modules that the project may have."""
    try:
        return {os.fsdecode(name) for name in read_fields(os.path.join(scratch, "names"))}
    except FileNotFoundError:
        return set()


def open_progress(scratch):
    """The file that tells how far it is, if somebody wants to know."""
    try:
        return os.open(os.path.join(scratch, "progress"), os.O_WRONLY | os.O_APPEND)
    except OSError:
        return None


def newest(kind):
    """The object of that type that was made last, which is looked for among the young ones first:
    there are millions."""
    for generation in range(3):
        for value in reversed(gc.get_objects(generation)):
            if type(value) is kind:
                return value
    return None


def meta_path(content):
    """Where a module was found, by what the cache has of it; `None` if that does not say."""
    try:
        from mypy.cache import CacheMeta, ReadBuffer

        return os.path.abspath(CacheMeta.read(ReadBuffer(content[2:]), "").path)
    except Exception:
        return None


def exact_stat(stat_path):
    """Makes two versions of a source differ in `st_mtime` whenever they differ in any time.

    mypy keeps whole seconds and takes a source of the same size and second for the same. The
    value only has to be equal for equal files.
    """

    def wrapped(path, *arguments, **keywords):
        found = stat_path(path, *arguments, **keywords)
        if not (isinstance(path, str) and path.endswith((".py", ".pyi"))):
            return found
        fields = list(found)[:10]
        # The hash of a tuple of integers is the same in every process.
        exact = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        fields[stat.ST_MTIME] = hash(exact) & 0xFFFF_FFFF_FFFF
        return os.stat_result(fields)

    return wrapped


def watch_environment(note):
    """Reports the variables that are read from now on, unless this process set them itself."""
    own = set()
    base = type(os.environ)

    def read(name):
        name = os.fsdecode(name)
        # `sysconfig` computes the per-user directories whether or not anybody wants them.
        frame = sys._getframe(2)
        while frame is not None and name in ("HOME", "PYTHONUSERBASE"):
            if frame.f_globals.get("__name__") in ("sysconfig", "site"):
                return
            frame = frame.f_back
        if name not in own:
            note(name)

    class Watched(base):
        def __getitem__(self, name):
            read(name)
            return base.__getitem__(self, name)

        def __setitem__(self, name, value):
            own.add(os.fsdecode(name))
            base.__setitem__(self, name, value)

        def __iter__(self):
            note("*")
            return base.__iter__(self)

        def __contains__(self, name):
            read(name)
            return base.__contains__(self, name)

    os.environ.__class__ = Watched
    os.environb.__class__ = Watched


