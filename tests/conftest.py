"""Make tools and benchmarks importable (they are not part of the installed package); set hypothesis up."""

import sys
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

# No deadline: a slow machine is not a mistake.
settings.register_profile("course", deadline=None)
settings.load_profile("course")
