"""A build backend (PEP 517, PEP 660) that hands out the wheel it was shipped with."""

import os
import shutil


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    if os.path.exists("fail"):
        raise SystemExit("the build was asked to fail")
    (name,) = os.listdir("prebuilt")
    shutil.copy(os.path.join("prebuilt", name), wheel_directory)
    return name


build_editable = build_wheel
