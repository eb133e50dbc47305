# Prints what an installer has to know about the interpreter that runs it, as one line of JSON.
import json
import os
import platform
import sys
import sysconfig


def version(info):
    text = "%d.%d.%d" % (info.major, info.minor, info.micro)
    if info.releaselevel != "final":
        text += info.releaselevel[0] + str(info.serial)
    return text


def musl():
    import glob
    import re
    import subprocess

    for loader in sorted(glob.glob("/lib/ld-musl-*.so.1")):
        child = subprocess.run([loader], stderr=subprocess.PIPE)
        found = re.search(r"Version (\d+)\.(\d+)", child.stderr.decode("utf-8", "replace"))
        if found:
            return [int(found.group(1)), int(found.group(2))]
    return None


def glibc():
    try:
        name, number = os.confstr("CS_GNU_LIBC_VERSION").rsplit()
        major, minor = number.split(".")[:2]
        return [int(major), int(minor)] if name == "glibc" else None
    except (AttributeError, OSError, ValueError):
        return None


def architecture():
    machine = platform.machine()
    if sys.maxsize <= 2**32:
        return {"x86_64": "i686", "amd64": "i686", "aarch64": "armv8l"}.get(machine, machine)
    return {"amd64": "x86_64", "AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def operating_system():
    if sys.platform.startswith("linux"):
        found = glibc()
        if found:
            return ["manylinux"] + found
        found = musl()
        return ["musllinux"] + found if found else ["linux", 0, 0]
    if sys.platform == "darwin":
        parts = (platform.mac_ver()[0].split(".") + ["0", "0"])[:2]
        return ["macos"] + [int(part) for part in parts]
    return [sys.platform, 0, 0]


def manylinux_compatible():
    # PEP 600: a distributor may veto.
    try:
        import _manylinux
    except ImportError:
        return True
    if getattr(_manylinux, "manylinux2014_compatible", None) is False:
        return False
    return True


def relative_scheme():
    # Where a virtual environment of this interpreter keeps things, relative to its root.
    name = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    root = "/rewarm-root"
    names = ["base", "platbase", "installed_base", "installed_platbase"]
    paths = sysconfig.get_paths(name, vars={key: root for key in names})
    picked = {key: os.path.relpath(paths[key], root) for key in ("purelib", "platlib", "scripts")}
    picked["include"] = "include/site/python%d.%d" % sys.version_info[:2]
    return picked


def activation_scripts():
    # The interpreter's own templates, filled in by its own code with values that need quoting,
    # so that whoever replaces the values can tell where they are quoted.
    try:
        import tempfile
        import venv
    except ImportError:
        return []
    filled = []
    with tempfile.TemporaryDirectory() as directory:
        builder = venv.EnvBuilder(prompt="@rewarm prompt@")
        context = builder.ensure_directories(os.path.join(directory, "environment"))
        context.env_dir = "@rewarm directory@"
        context.env_name = "@rewarm name@"
        context.env_exe = "@rewarm executable@"
        context.bin_name = "bin"
        base = os.path.join(os.path.dirname(os.path.abspath(venv.__file__)), "scripts")
        for group in ("common", "posix"):
            folder = os.path.join(base, group)
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                context.script_path = os.path.join(folder, name)
                try:
                    with open(context.script_path, encoding="utf-8") as file:
                        text = builder.replace_variables(file.read(), context)
                except (OSError, UnicodeDecodeError):
                    continue
                filled.append([name, text])
    return filled


implementation = sys.implementation
gil = sysconfig.get_config_var("Py_GIL_DISABLED")
print(
    json.dumps(
        {
            "executable": sys.executable,
            "base_executable": getattr(sys, "_base_executable", sys.executable),
            "prefix": sys.prefix,
            "base_prefix": sys.base_prefix,
            "version": list(sys.version_info[:3]),
            "markers": {
                "implementation_name": implementation.name,
                "implementation_version": version(implementation.version),
                "os_name": os.name,
                "platform_machine": platform.machine(),
                "platform_python_implementation": platform.python_implementation(),
                "platform_release": platform.release(),
                "platform_system": platform.system(),
                "platform_version": platform.version(),
                "python_full_version": platform.python_version(),
                "python_version": ".".join(platform.python_version_tuple()[:2]),
                "sys_platform": sys.platform,
            },
            "os": operating_system(),
            "arch": architecture(),
            "implementation_version": list(implementation.version[:2]),
            "gil_disabled": bool(gil),
            "debug": hasattr(sys, "gettotalrefcount"),
            "manylinux_compatible": manylinux_compatible(),
            "scheme": relative_scheme(),
            "activation": activation_scripts(),
        }
    )
)
