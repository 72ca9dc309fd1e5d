# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A photograph, and what kernels answer to it.

Chapter "Figures that learn" builds this module.
"""

import base64
import struct
import zlib

import numpy as np

from convlib.figures.drawing import Figure, _svg, _text
from convlib.figures.numbers import _grid
from convlib.functional import conv2d

__all__ = ["through_kernels"]


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

def _png(pixels):
    """A grey picture as the bytes of a PNG file that is not packed: the same everywhere."""
    rows, columns = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels.astype(np.uint8))
    block = b"\1" + struct.pack("<HH", len(lines), len(lines) ^ 0xFFFF) + lines
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0),  # 8 bits, grey
        b"IDAT": b"\x78\x01" + block + struct.pack(">I", zlib.adler32(lines)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )


def _photograph_panel(pixels, title, kernel, side=208):
    """The picture below its title, and below it the kernel that made it."""
    source = f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}"
    content = _text(side / 2 + 2, 9, title, 13)
    content += f'<image href="{source}" x="2" y="20" width="{side}" height="{side}" style="image-rendering:pixelated"/>'
    content += _grid(kernel, side / 2 - 40, side + 30, 28, "kernel", index=False)
    return _svg(side + 4, side + 116, content)


def _as_grey(answers, kernel):
    """The answers as whole numbers from 0 to 255."""
    zero, weight = (0, kernel.sum()) if kernel.sum() > 0 else (128, kernel[kernel > 0].sum())
    return np.clip(zero + (2 * answers + weight) // (2 * weight), 0, 255)


def through_kernels(photograph, kernels, *, alt):
    """Show a photograph, and beside it what kernels answer to it; below each picture stands its kernel.

    Parameters
    ----------
    photograph : array of int of shape (H, W)
        From 0 to 255, at most 255 x 255 pixels.
    kernels : dict of str to array of int of shape (3, 3)
        The kernels and the titles of their pictures; the weights of each add up to 0 or more.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the photograph or a kernel is not as said above.

    Notes
    -----
    Source: chapter "Figures that learn"; used in the chapter "One kernel, one neuron".
    """
    photograph = np.asarray(photograph)
    if photograph.ndim != 2 or photograph.dtype.kind not in "iu" or not 0 < max(photograph.shape) < 256:
        raise ValueError("photograph: expected whole numbers of shape (H, W), at most 255 x 255, "
                         f"got {photograph.dtype} of shape {photograph.shape}")
    panels, unchanged = [], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    for title, kernel in {"the photograph": unchanged, **kernels}.items():
        kernel = np.asarray(kernel)
        if kernel.shape != (3, 3) or kernel.dtype.kind != "i" or kernel.sum() < 0 or kernel.max() < 1:
            raise ValueError(f"kernels: expected 3 x 3 whole numbers that add up to 0 or more, got {kernel.tolist()}")
        answers = conv2d(photograph[np.newaxis].astype(np.int64), kernel[np.newaxis, np.newaxis], padding="same")[0]
        panels.append(_photograph_panel(_as_grey(answers, kernel), title, kernel))
    return Figure(panels, alt)
