"""Runs mypy as its console script would and writes down what the run looked at.

Started as `python -c <this text> SCRATCH CACHE SCRIPT DEFAULT ARGUMENTS...`. mypy is imported once; each
pass is a fork of this process whose output goes to files in SCRATCH. The answer is the output of
the last pass. CACHE is the private cache directory, or empty for runs without one.
DEFAULT is the target for when nobody names one, or empty.

Every record in SCRATCH/report is a tag and a value, both ended by a NUL byte; the last one is
`end`. Paths are absolute. Tags:
    f  a file that was read, or whose presence was decisive
    p  a directory in which names were looked up that matter to an import
    l  a directory that was listed for imports
    D  a directory of which every name may matter
    v  an environment variable that was read
    x  a reason why this run must not be stored
    w  a module that was checked, by the name of its files in the cache
    r  a module that was put into the cache
    g  a module of the build, in the order in which they were found (of a pass only)
    m  a module that was checked again: why, its name, and what about (see `reasons.py`)
    c  a module whose result was carried over
"""

import faulthandler
import gc
import hashlib
import os
import re
import shutil
import signal
import stat
import sys
import time


def main():
    scratch, cache, script, default = sys.argv[1:5]
    arguments = sys.argv[5:]
    sys.argv[:] = [script] + arguments
    import mypy.__main__

    # The passes leave no bytecode of plugins behind, which would look like a changed directory.
    sys.dont_write_bytecode = True
    started = time.time_ns()
    options = ["--cache-dir", os.devnull]
    entries, carrier, restored, carried = None, None, [], []
    if cache:
        try:
            entries = Entries(scratch, cache)
            restored = entries.restore()
            carrier = Carry(scratch, cache)
            carried = carrier.carry()
        except Exception:
            # A module may have arrived in part.
            empty(cache)
            entries, carrier, restored, carried = None, None, [], []
        options = ["--no-sqlite-cache", "--skip-cache-mtime-checks", "--cache-dir", cache]
    sys.argv[1:] = options + arguments
    entry = mypy.__main__.console_entry
    seeded = bool(cache) and any(item.is_dir() for item in os.scandir(cache))
    first = Pass(scratch, 0, cache, entry)
    if default and first.lacks_target():
        sys.argv.append(default)
        first = Pass(scratch, 0, cache, entry)
    passes, rechecked = [first], first.rechecked
    if seeded and first.is_broken():
        empty(cache)
        seeded = False
        passes = [Pass(scratch, 2, cache, entry)]
        rechecked = passes[0].rechecked
    if seeded and first.code < 2 and (first.is_stale() or not first.is_silent()):
        cold = first.needs_cold() or first.is_disordered(bool(restored))
        moved = not cold and first.settle_hints()
        if moved is not None and not cold and (rechecked or moved):
            passes.append(Pass(scratch, 1, cache, entry))
            # What is not wholly fresh now never will be, and comes in no known order.
            cold = passes[1].needs_cold() or passes[1].rechecked or passes[1].settle_hints()
        if cold or moved is None:
            empty(cache)
            seeded = False
            passes.append(Pass(scratch, 2, cache, entry))
            rechecked = passes[-1].rechecked
    answer = passes[-1]
    report = Report(os.path.join(scratch, "report"))
    emptied = answer.number == 2
    last = [answer] if emptied else passes
    written = set([] if emptied else carried).union(*[each.written() for each in last])
    if entries and answer.code in (0, 1) and not any(b"plugged" in p.facts for p in passes):
        try:
            entries.export(written)
        except Exception:
            remove(os.path.join(scratch, "export"))
    for tag, names in (("w", written), ("r", restored)):
        for name in names:
            report.add(tag, name)
    if seeded:
        first.tell_modules(report)
        for name in carrier.modules if carrier else []:
            report.add("c", name)
    for each in passes:
        each.tell(report)
    report.add("emptied", str(int(emptied)))
    report.add("torn", str(int(any(each.is_torn() for each in last))))
    report.add("cut", str(int(answer.is_cut())))
    report.add("answer", str(answer.number))
    report.add("started", str(started))
    report.add("seeded", str(int(seeded)))
    report.add("rechecked", str(rechecked))
    report.add("end", "")
    report.close()
    if os.WIFSIGNALED(answer.status):
        sys.exit(128 + os.WTERMSIG(answer.status))
    sys.exit(answer.code)


def empty(directory):
    for item in os.scandir(directory):
        if item.is_dir(follow_symlinks=False):
            shutil.rmtree(item.path)
        else:
            os.unlink(item.path)


class Report:
    """The records of one process, written at its end."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.seen = set()

    def add(self, tag, value):
        record = (tag, os.fsencode(value))
        if record not in self.seen:
            self.seen.add(record)
            self.file.write(tag.encode() + b"\0" + record[1] + b"\0")

    def close(self):
        self.file.close()


class Pass:
    """One run of mypy in a process of its own."""

    def __init__(self, scratch, number, directory, entry):
        self.number = number
        self.cache = directory
        names = [os.path.join(scratch, "%d.%s" % (number, end)) for end in ("out", "err", "seen")]
        self.out, self.err, self.seen = names
        child = os.fork()
        if child == 0:
            if tied is not None:
                os.close(tied)
            for descriptor, path in ((1, self.out), (2, self.err)):
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(file, descriptor)
                os.close(file)
            # Whoever ends a run that hangs learns where it was.
            faulthandler.register(signal.SIGTERM, file=2, all_threads=False, chain=True)
            observer = Observer(self.seen, scratch, directory)
            observer.start()
            try:
                entry()
                code = 0
            except SystemExit as end:
                code = end.code
            # Older versions come this way. A full disk is noticed here, before the report is whole.
            sys.stdout.flush()
            sys.stderr.flush()
            observer.conclude()
            sys.exit(code)
        self.status = os.waitpid(child, 0)[1]
        self.code = os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else -1
        self.facts = self.read()
        self.rechecked = int(self.facts.get(b"rechecked", [b"0"])[0])

    def read(self):
        try:
            with open(self.seen, "rb") as file:
                fields = file.read().split(b"\0")
        except FileNotFoundError:
            return {}
        facts = {}
        for tag, value in zip(fields[::2], fields[1::2]):
            facts.setdefault(tag, []).append(value)
        return facts

    def tell(self, report):
        for tag in (b"f", b"p", b"l", b"D", b"v", b"x"):
            for value in self.facts.get(tag, []):
                report.add(tag.decode(), os.fsdecode(value))
        if b"end" not in self.facts:
            report.add("x", "mypy ended without a report of what it read")

    def tell_modules(self, report):
        for value in self.facts.get(b"m", []):
            report.add("m", os.fsdecode(value))

    def written(self):
        """Modules that were checked, by the names of their files."""
        return {os.fsdecode(name) for name in self.facts.get(b"w", [])}

    def output(self):
        with open(self.out, "rb") as out, open(self.err, "rb") as err:
            return out.read(), err.read()

    def lacks_target(self):
        """Whether neither the arguments nor the configuration say what to check."""
        return self.code == 2 and b": error: Missing target module" in self.output()[1]

    def text(self):
        """The standard output without its colours, which stand between words and marks."""
        return re.sub(rb"\x1b(?:\[[0-9;]*[A-Za-z]|\([0-9A-Z])|\x0f", b"", self.output()[0])

    def is_silent(self):
        """Whether there is no message whose place among others could be wrong."""
        err = self.output()[1]
        lines = self.text().splitlines()
        quiet = not lines or len(lines) == 1 and b"Success: no issues found in " in lines[0]
        return self.code == 0 and quiet and not err

    def is_broken(self):
        """Whether mypy stumbled over its cache, or might have."""
        texts = (b"INTERNAL ERROR", b"bad cache", b"Traceback (most recent call last)")
        return self.code not in (0, 1, 2) or any(t in o for t in texts for o in self.output())

    def is_torn(self):
        """Whether a part of a module may be missing from the cache."""
        return b"torn" in self.facts or b"end" not in self.facts

    def is_cut(self):
        """Whether mypy died of something else than a signal, perhaps of a full disk; then its
        output may not be whole."""
        return os.WIFEXITED(self.status) and self.code != 2 and b"end" not in self.facts

    def is_stale(self):
        """Whether what the cache holds was made with other plugins."""
        return b"stale" in self.facts

    def needs_cold(self):
        """Whether a message of a cached module may differ from that of a cold run."""
        return self.is_stale() or self.is_torn() or b"cold" in self.facts

    def is_disordered(self, restored):
        """Whether a message may come of names in another order than that of a cold run."""
        names = self.written()
        if restored or b"moved" in self.facts:
            names = names.union(os.fsdecode(name) for name in self.facts.get(b"g", []))
        try:
            triples = (read_triple(os.path.join(self.cache, name)) for name in names)
            return any(Orders.are_told(triple.extra.error_lines) for triple in triples)
        except (ValueError, OSError, AssertionError, AttributeError):
            return True

    def settle_hints(self):
        """Sets the hints in the cache right. Says whether that changed any; `None` if the right
        ones are not known."""
        try:
            names = [os.fsdecode(name) for name in self.facts.get(b"g", [])]
            return Hints(self.cache).assign(names)
        except (ValueError, OSError, AttributeError):
            return None


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

    def __init__(self, path, scratch, cache):
        self.path = path
        self.cache = cache
        self.own = tuple(entry + os.sep for entry in (scratch, cache) if entry)
        self.found = {}
        # What plugins were made of and asked for.
        self.plugged = set()
        self.fscache = None
        self.options = None
        self.written = {"meta_ex": 0, "meta": 0}
        # Modules whose messages were written, by the names of their files.
        self.checked = set()
        # Files of the cache that are being written.
        self.pending = set()
        # Modules that were found elsewhere than when they were checked.
        self.moved = set()
        self.modules = set(sys.modules)
        self.reasons = Reasons(cache)
        self.calm = False

    def start(self):
        self.exit, self.getenv, self.replace = os._exit, os.getenv, os.replace
        os._exit, os.getenv, os.replace = self.on_exit, self.on_getenv, self.on_replace
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
            if reads and isinstance(path, (str, bytes)):
                self.note("f", self.absolute(path))
            elif self.cache and isinstance(path, str) and ".ff." in path:
                self.pending.add(path)
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
            for value in gc.get_objects():
                kind = type(value).__name__
                if kind == "FileSystemCache":
                    self.fscache = value
                elif kind == "Options":
                    self.options = value
        return self.getenv(name, default)

    def on_replace(self, source, target, **keywords):
        if isinstance(target, str) and target.endswith(".meta.ff") and self.cache:
            if meta_path(target) not in (None, meta_path(source)):
                self.moved.add(os.path.relpath(target, self.cache)[: -len(".meta.ff")])
        if isinstance(target, str):
            self.reasons.keep(target)
        result = self.replace(source, target, **keywords)
        self.pending.discard(source)
        for kind in self.written:
            if isinstance(target, str) and target.endswith((".%s.ff" % kind, ".%s.json" % kind)):
                self.written[kind] += 1
        if isinstance(target, str) and target.endswith(".meta_ex.ff") and self.cache:
            self.checked.add(os.path.relpath(target, self.cache)[: -len(".meta_ex.ff")])
        return result

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
        self.take_cache()
        self.take_options()
        if self.pending:
            self.note("torn", "")
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
        graph = self.take_graph()
        for name, state in graph:
            if not state.ignore_all:
                report.add("g", name)
        if self.cache and self.take_orders(graph):
            report.add("moved", "")
        report.add("rechecked", str(self.written["meta_ex"] or self.written["meta"]))
        report.add("end", "")
        report.close()

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
        for path, status in found.items():
            path = self.absolute(path)
            self.note("p", os.path.dirname(path))
            if status is not None and stat.S_ISREG(status.st_mode):
                self.note("f", path)
        for path in list(self.fscache.listdir_cache) + list(self.fscache.listdir_error_cache):
            path = self.absolute(path)
            self.found.get("D", set()).discard(path)
            self.note("l", path)

    def take_graph(self):
        """The modules of the build in the order in which they were found, with the names of their
        files."""
        if not self.cache or self.options is None:
            return []
        build = [value for value in gc.get_objects() if type(value).__name__ == "BuildResult"]
        graph = build[0].graph.values() if len(build) == 1 else []
        names = []
        for state in graph:
            if state.path:
                name = state.id.replace(".", os.sep)
                if os.path.basename(state.path).startswith("__init__.py"):
                    name = os.path.join(name, "__init__")
                name = os.path.join("%d.%d" % self.options.python_version, name)
                names.append((name, state))
        return names

    def take_orders(self, graph):
        """Keeps the order of names in the modules that were checked, and says whether that of one
        is another than before."""
        checked = [(name, state) for name, state in graph if name in self.checked]
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
        modes = ("show_absolute_path", "show_error_code_links", "hide_error_codes")
        modes += ("show_error_context",)
        if getattr(self.options, "many_errors_threshold", -1) >= 0:
            self.note("cold", "")
        text = getattr(self.options, "build_type", 0) == 2
        if text or "error" in follow or any(getattr(self.options, m, False) for m in modes):
            self.note("cold", "")
        # Older versions do not keep the messages of every module.
        if not hasattr(sys.modules.get("mypy.cache"), "CacheMetaEx"):
            self.note("cold", "")


def meta_path(path):
    """Where a module was found, by what the cache says of it; `None` if it does not say."""
    try:
        from mypy.cache import CacheMeta, ReadBuffer

        with open(path, "rb") as file:
            return os.path.abspath(CacheMeta.read(ReadBuffer(file.read()[2:]), "").path)
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
        exact = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        fields[stat.ST_MTIME] = int(hashlib.sha256(repr(exact).encode()).hexdigest()[:12], 16)
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


if sys.argv[1] == "--worker":
    become_worker(sys.argv[2:])
main()
