"""What holds for every test."""

import os
import sys

# Images for containers often tell Python not to keep what it has compiled. These tests start
# several hundred processes, each of which would compile the whole project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
