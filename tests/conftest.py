"""Make the tools importable (they are scripts, not part of the installed package); set hypothesis up."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

# No deadline: a slow machine is not a mistake.
settings.register_profile("course", deadline=None)
settings.load_profile("course")
