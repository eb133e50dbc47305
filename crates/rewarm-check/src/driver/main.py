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
    import mypy.__main__

    # The passes leave no bytecode of plugins behind, which would look like a changed directory.
    sys.dont_write_bytecode = True
    started = time.time_ns()
    options = ["--cache-dir", os.devnull]
    lacks = lacking() if cache else ""
    if lacks:
        cache = ""
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
    passes = [first]
    if seeded and first.is_broken():
        empty(cache)
        seeded = False
        passes = [Pass(scratch, 2, cache, entry)]
    for number in (3, 4):
        if seeded and first.code < 2 and first.misfits():
            Circumstances(cache).drop(first.misfits())
            first = Pass(scratch, number, cache, entry)
            passes.append(first)
    attempts = list(passes)
    rechecked = first.rechecked
    if len(attempts) > 1:
        # Some modules may have been checked in both.
        rechecked = len(set().union(*[each.written() for each in attempts]))
    unfit = seeded and (first.is_lost() or bool(first.misfits()))
    if seeded and first.code < 2 and (unfit or first.is_stale() or not first.is_silent()):
        cold = unfit or first.needs_cold() or first.is_disordered(restored or len(attempts) > 1)
        moved = not cold and first.settle_hints()
        if moved or moved is not None and not cold and rechecked and not first.reorder():
            passes.append(Pass(scratch, 1, cache, entry))
            # What is not wholly fresh now never will be, and comes in no known order.
            last = passes[-1]
            cold = last.needs_cold() or last.rechecked or last.settle_hints()
            cold = cold or last.is_lost() or last.misfits()
        if cold or moved is None:
            empty(cache)
            seeded = False
            passes.append(Pass(scratch, 2, cache, entry))
            rechecked = passes[-1].rechecked
    if seeded and first.code == 2 and first.output()[0]:
        # Beside what cannot be read mypy tells of imports that it did not find, unless it has the
        # module from its cache. It checks nothing then.
        sys.argv[1:] = ["--cache-dir", os.devnull] + sys.argv[1 + len(options) :]
        passes.append(Pass(scratch, 5, "", entry))
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
        told = set()
        for each in attempts:
            each.tell_modules(report, attempts[0].misfits(), told)
        for name in carrier.modules if carrier else []:
            report.add("c", name)
    for each in passes:
        each.tell(report)
    report.add("emptied", str(int(emptied)))
    report.add("torn", str(int(any(each.is_torn() for each in last))))
    report.add("lacks", lacks)
    report.add("cut", str(int(answer.is_cut())))
    report.add("answer", str(answer.number))
    report.add("started", str(started))
    report.add("seeded", str(int(seeded)))
    report.add("rechecked", "" if lacks else str(rechecked))
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


def lacking():
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
    return ""


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
