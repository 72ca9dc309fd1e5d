"""Make the layers and means of tests/test_functional.py importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
