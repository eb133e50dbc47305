# Prints where pip is: "module", or the wheel that ensurepip would install, and what it is.
import glob
import importlib.util
import os

if importlib.util.find_spec("pip"):
    import pip

    print("module")
    print("pip " + pip.__version__)
else:
    import sysconfig

    directories = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    try:
        import ensurepip

        directories.append(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"))
    except ImportError:
        pass
    found = []
    for directory in filter(None, directories):
        found += sorted(glob.glob(os.path.join(directory, "pip-*.whl")))
    if found:
        print(found[-1])
        print(os.path.basename(found[-1]))
