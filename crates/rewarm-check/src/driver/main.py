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
    u  a module whose result was found in other circumstances (of a pass only)
    m  a module that was checked again: why, its name, and what about (see `reasons.py`)
    c  a module whose result was carried over
"""

import os
import shutil
import sys
import time


def main():
    scratch, cache, script, default = sys.argv[1:5]
    arguments = sys.argv[5:]
    sys.argv[:] = [script] + arguments
    entry = import_mypy()
    # The passes leave no bytecode of plugins behind, which would look like a changed directory.
    sys.dont_write_bytecode = True
    started = time.time_ns()
    lacks = lacking(scratch) if cache else ""
    run = Run(scratch, "" if lacks else cache, arguments, entry)
    run.seed()
    run.begin(default)
    run.fit()
    run.settle()
    run.export()
    run.end()
    run.tell(lacks, started)
    answer = run.passes[-1]
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking apart all that mypy's import has made costs more than the rest of this process.
    os._exit(128 + os.WTERMSIG(answer.status) if os.WIFSIGNALED(answer.status) else answer.code)


class Run:
    """As many passes of mypy as its answer takes. The number of a pass says what it is for: 0 is the
    first, 3 and 4 repeat it without results that do not fit, 1 is over a cache that is fresh now,
    2 over an empty one, 5 without any.
    """

    def __init__(self, scratch, cache, arguments, entry):
        self.scratch = scratch
        self.pack = Pack(cache) if cache else None
        self.arguments = arguments
        self.entry = entry
        self.entries, self.carrier = None, None
        # Modules by the names of their files: put into the cache, and carried over in it.
        self.restored, self.carried = [], []
        # Whether the last pass found something in the cache.
        self.seeded = False
        self.passes = []
        # Whether something may be missing in the cache that was not mypy's to write.
        self.torn = False
        # The passes in which modules were checked that are still in the cache.
        self.attempts = []

    def seed(self):
        """Puts into the cache what is known of modules and not there."""
        if not self.pack:
            return
        try:
            self.entries = Entries(self.scratch, self.pack)
            self.restored = self.entries.restore()
            self.carrier = Carry(self.scratch, self.pack)
            self.carried = self.carrier.carry()
            self.pack.publish()
        except Exception:
            # A module may have arrived in part.
            empty(self.pack)
            self.entries, self.carrier = None, None
            self.restored, self.carried = [], []
        self.seeded = self.pack.is_filled()

    def go(self, number, pack):
        options = ["--sqlite-cache", "--skip-cache-mtime-checks"] if pack else []
        options += ["--cache-dir", pack.directory if pack else os.devnull]
        sys.argv[1:] = options + self.arguments
        if pack:
            pack.publish()
        self.passes.append(Pass(self.scratch, number, pack, self.entry))
        return self.passes[-1]

    def go_cold(self):
        empty(self.pack)
        self.seeded = False
        self.go(2, self.pack)

    def begin(self, default):
        first = self.go(0, self.pack)
        if default and first.lacks_target():
            self.arguments.append(default)
            self.passes.clear()
            first = self.go(0, self.pack)
        if self.seeded and first.is_broken():
            self.passes.clear()
            self.go_cold()

    def fit(self):
        """Has modules checked again whose results were found in other circumstances."""
        for number in (3, 4):
            last = self.passes[-1]
            if self.seeded and last.code < 2 and last.misfits():
                Circumstances(self.pack.directory).drop(last.misfits(), self.pack)
                self.go(number, self.pack)
        self.attempts = list(self.passes)

    def settle(self):
        """Sees to it that the last pass says what a cold run would say."""
        last = self.passes[-1]
        if not self.seeded:
            return
        if last.code == 2 and last.output()[0]:
            # Beside what cannot be read mypy tells of imports that it did not find, unless it has the
            # module from its cache. It checks nothing then.
            self.go(5, None)
        elif last.code < 2 and not self.is_settled(last):
            self.go_cold()

    def is_settled(self, last):
        """Whether the messages are those of a cold run, after they were put right."""
        if last.is_lost() or last.misfits():
            return False
        if last.is_silent() and not last.is_stale():
            return True
        if last.needs_cold() or last.is_disordered(self.restored or len(self.attempts) > 1):
            return False
        moved = last.settle_hints()
        if moved is None:
            return False
        if not moved and (not last.rechecked or last.reorder()):
            return True
        again = self.go(1, self.pack)
        # What is not wholly fresh now never will be, and comes in no known order.
        unsettled = again.needs_cold() or again.rechecked or again.settle_hints()
        return not (unsettled or again.is_lost() or again.misfits())

    def rechecked(self):
        """How many modules were checked."""
        if self.is_emptied() or len(self.attempts) == 1:
            return self.last()[0].rechecked
        # Some may have been checked in both.
        return len(set().union(*[each.written() for each in self.attempts]))

    def is_emptied(self):
        return self.passes[-1].number == 2

    def last(self):
        """The passes whose results are in the cache."""
        return self.passes[-1:] if self.is_emptied() else self.passes

    def written(self):
        """Modules that are new in the cache, by the names of their files."""
        carried = [] if self.is_emptied() else self.carried
        return set(carried).union(*[each.written() for each in self.last()])

    def export(self):
        is_plugged = any(b"plugged" in each.facts for each in self.passes)
        if not self.entries or is_plugged or self.passes[-1].code not in (0, 1):
            return
        try:
            self.entries.export(self.written())
        except Exception:
            remove(os.path.join(self.scratch, "export"))

    def end(self):
        """Leaves the cache as the next run is to find it."""
        if self.pack:
            try:
                self.pack.settle()
            except OSError:
                self.torn = True

    def tell(self, lacks, started):
        answer = self.passes[-1]
        report = Report(os.path.join(self.scratch, "report"))
        for tag, names in (("w", self.written()), ("r", self.restored)):
            for name in names:
                report.add(tag, name)
        if self.seeded:
            told = set()
            for each in self.attempts:
                each.tell_modules(report, self.attempts[0].misfits(), told)
            for name in self.carrier.modules if self.carrier else []:
                report.add("c", name)
        for each in self.passes:
            each.tell(report)
        report.add("emptied", str(int(self.is_emptied())))
        report.add("torn", str(int(self.torn or any(each.is_torn() for each in self.last()))))
        report.add("lacks", lacks)
        report.add("cut", str(int(answer.is_cut())))
        report.add("answer", str(answer.number))
        report.add("started", str(started))
        report.add("seeded", str(int(self.seeded)))
        report.add("rechecked", "" if lacks else str(self.rechecked()))
        report.add("end", "")
        report.close()


def empty(pack):
    pack.empty()
    for item in os.scandir(pack.directory):
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
        record = os.fsencode("%s\0%s\0" % (tag, value))
        if record not in self.seen:
            self.seen.add(record)
            self.file.write(record)

    def close(self):
        self.file.close()


def lacking(scratch):
    """What this mypy would need to have for results of single modules, if it lacks something."""
    import importlib

    for module, names in NEEDED.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            return module
        for name in names:
            if not hasattr(found, name):
                return "%s.%s" % (module, name)
    settings = mypy_options()
    for name in ("sqlite_cache", "fixed_format_cache", "skip_cache_mtime_checks"):
        if not hasattr(settings, name):
            return "mypy.options.Options.%s" % name
    try:
        return "" if understands_database(scratch) else "mypy.metastore.SqliteMetadataStore"
    except Exception:
        return "mypy.metastore.SqliteMetadataStore"


NEEDED = {
    "mypy.build": ("BuildResult", "State", "SCC", "order_ascc_ex"),
    "mypy.cache": ("CacheMeta", "CacheMetaEx", "ReadBuffer", "WriteBuffer", "END_TAG", "read_bool")
    + ("read_str_list", "read_tag", "write_str"),
    "mypy.fscache": ("FileSystemCache",),
    "mypy.modulefinder": ("ModuleNotFoundReason",),
    "mypy.util": ("json_dumps",),
}


def mypy_options():
    from mypy.options import Options

    return Options()


if sys.argv[1] == "--worker":
    become_worker(sys.argv[2:])
main()
