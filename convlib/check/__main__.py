# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The command `python -m convlib.check`.

Chapter "How an answer is checked" builds this module.
"""

import sys

from convlib.check.own_layer import main

__all__ = []


# Chapter "How an answer is checked" (chapters/checking.ipynb)

# In a notebook, where this cell stands too, the program is called __main__ as well.
if __name__ == "__main__" and __package__ == "convlib.check":
    sys.exit(main())
