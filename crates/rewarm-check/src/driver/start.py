"""Sets the search path before anything is imported along it.

A console script finds its own directory in front, and no working directory, where a module of the
project could stand for one of the library. Both ways to start this text name the script third.
"""

import os
import sys

if not getattr(sys.flags, "safe_path", False):
    sys.path[0] = os.path.dirname(sys.argv[3])

