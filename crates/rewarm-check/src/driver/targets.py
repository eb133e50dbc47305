"""Says what mypy would check, and where it would look for modules, without checking anything.

Started as `python -c <this text> OUT SCRIPT DEFAULT ARGUMENTS...`, with mypy's arguments. DEFAULT is the
target for when nobody names one, or empty. Ends with 0 if OUT is whole.

Every record in OUT is a tag and a value, both ended by a NUL byte; the last one is `end`. Paths are
as mypy has them, relative ones to the working directory. Tags:
    s  a source that would be checked; with it come
    m  its module's name, and
    b  the directory that the name begins in, or nothing
    d  a directory in which modules are looked for
    g  a file below the working directory that a plugin was made of
    x  a reason why files depend on each other in ways that imports do not show
"""

import io
import os
import sys


def main():
    out, script, default = sys.argv[1:4]
    arguments = sys.argv[4:]
    sys.argv[:] = [script] + arguments
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(script)
    import mypy.main

    sys.dont_write_bytecode = True
    sys.stdout = sys.stderr = io.StringIO()
    found = targets(arguments)
    if found is None and default:
        found = targets(arguments + [default])
    if found is None:
        sys.exit(2)
    records = describe(*found)
    with open(out, "wb") as file:
        for tag, value in records + [("end", "")]:
            file.write(os.fsencode(tag) + b"\0" + os.fsencode(value) + b"\0")


def targets(arguments):
    """Sources and options; `None` if mypy has something against the arguments."""
    from mypy.fscache import FileSystemCache
    from mypy.main import process_options

    streams = {"stdout": io.StringIO(), "stderr": io.StringIO()}
    try:
        return process_options(list(arguments), fscache=FileSystemCache(), **streams)
    except SystemExit:
        return None


def describe(sources, options):
    from mypy.build import default_data_dir
    from mypy.modulefinder import compute_search_paths

    records = []
    for source in sources:
        if source.text is not None:
            records.append(("x", "a program is given as text"))
        elif source.path is not None:
            base = source.base_dir or ""
            records += [("s", source.path), ("m", source.module or ""), ("b", base)]
    paths = compute_search_paths(sources, options, default_data_dir())
    for directory in paths.python_path + paths.mypy_path + paths.package_path:
        records.append(("d", directory))
    if options.plugins:
        records += plugins(options)
    return records


def plugins(options):
    """What plugins are made of, and whether they make files depend on each other."""
    from mypy.build import load_plugins
    from mypy.errors import Errors
    from mypy.plugin import Plugin

    before = set(sys.modules)
    records = []
    try:
        loaded = load_plugins(options, Errors(options), io.StringIO(), [])[0]
        for plugin in getattr(loaded, "_plugins", [loaded]):
            kind = type(plugin)
            if kind.get_additional_deps is not Plugin.get_additional_deps:
                name = "%s.%s" % (kind.__module__, kind.__qualname__)
                records.append(("x", "the plugin `%s` adds dependencies" % name))
    except BaseException:
        records.append(("x", "a plugin cannot be loaded"))
    here = os.getcwd() + os.sep
    for name in sorted(set(sys.modules) - before):
        origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
        for path in (origin, getattr(sys.modules[name], "__file__", None)):
            if path and os.path.abspath(path).startswith(here):
                records.append(("g", os.path.abspath(path)))
    # Before they are loaded: one that cannot be has no origin.
    for plugin in options.plugins:
        path = plugin.rsplit(":", 1)[0] if ":" in os.path.basename(plugin) else plugin
        if path.endswith(".py"):
            config = os.path.dirname(options.config_file or "")
            records.append(("g", os.path.abspath(os.path.join(config, path))))
    return records


main()
