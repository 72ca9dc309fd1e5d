# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The package convlib.check."""
