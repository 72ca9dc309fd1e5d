# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Every number of the engine that was found by measuring: what it is, and in which unit.

`python -m benchmarks.tune` finds them on another machine, and says what each is worth.
Chapter "Vectors and the block" builds this module, and each chapter adds what it needs.
"""

from platform import machine

from convlib.kernels.simd import REGISTER_BYTES

__all__ = [
    "REGISTERS",
    "ROWS",
    "VECTORS",
    "PIECE",
    "SET",
    "IN_PLACE",
    "AT_ONCE",
    "PIXELS",
    "PLANE",
    "SHARES",
    "DEEP",
    "TALL",
    "SPAN",
    "BUNCH",
    "LINES",
    "FLOW",
    "SUMS",
    "DOTS",
    "FEW",
    "SMALL",
    "SERIAL",
    "OUTPUTS",
    "TILES",
    "FEW_PIECES",
    "MANY_PIECES",
    "PART",
    "SECTIONS",
    "TRANSFORM",
    "CHANNELS_PLANES",
    "CHANNELS_PLANES_STRIDED",
    "CHANNELS_PLANES_WEIGHTS",
    "SPARSE",
]


# Chapter "Vectors and the block" (chapters/block.ipynb)

# The vector registers of the processor: 32 with AVX-512 and on AArch64, else 16.
REGISTERS = 32 if REGISTER_BYTES == 64 or machine() in ("aarch64", "arm64") else 16
# The block: rows x vectors of sums, as many as the registers have room for.
ROWS, VECTORS = (8, 2) if REGISTERS == 32 else (6, 2)


# Chapter "Packing: the layer as a matrix product" (chapters/packing.ipynb)

# Products in one chain of sums: it bounds the rounding errors.
PIECE = 512
# Numbers in a set of strips, which must stay in the second cache.
SET = 100_000
# Output channels up to which the strips of 1 x 1 layers are read where they lie.
IN_PLACE = 64
# Numbers of the depth whose weights are packed at a time.
AT_ONCE = 8


# Chapter "Back through the product" (chapters/back.ipynb)

# Places in one chain of a weight's gradient: shorter chains pay more at their ends.
PIXELS = 512
# Numbers of a plane up to which several images share one: it must stay in the second cache.
PLANE = 100_000
# Parts of a learning flow that there should be, so that several jobs have work.
SHARES = 8
# Output channels from which layers of stride 1 with several taps are scattered, too.
DEEP = 96


# Chapter "A channel by itself" (chapters/alone.ipynb)

# Output lines of a depthwise channel that are computed together.
TALL = 7
# Numbers: no block of planes is wider.
SPAN = 128
# Numbers of small planes that are brought before they are computed.
BUNCH = 4096
# Numbers of a row of output lines that are made together.
LINES = 2000
# Numbers of the flow whose dot products are taken at a time.
FLOW = 60_000
# Sums of a gradient of weights that are kept at a time.
SUMS = 200_000
# Rows of the flow x taps in a block of dot products.
DOTS = (4, 4) if REGISTERS == 32 else (3, 3)
# Blocks for one output channel of a group, and for a few: rows x vectors.
FEW = ((0,) * 4,), ((0,) * 3,) * 4
# Multiplications of a layer that is over before a plan is made.
SMALL = 20_000
# Multiplications up to which BLAS works with one thread.
SERIAL = 250_000


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

# Results of a tile of Winograd's algorithm, on one axis.
OUTPUTS = 4
# Tiles at once where the weights are few: all pieces stay in the second cache.
TILES = 56
# Pieces of weights that count as few: they stay in the cache, too.
FEW_PIECES = 800_000
# Pieces of images at once where the weights are many.
MANY_PIECES = 1_000_000
# Channels at once where the weights are many.
PART = 64
# Sections of the tiles: so many threads can share the gradient of few weights.
SECTIONS = 4


# Chapter "Choosing" (chapters/choosing.ipynb)

# Products that take as long as the transforms of one number of a tile.
TRANSFORM = 24
# Input channels of a group up to which planes beat the product.
CHANNELS_PLANES = 128
# Channels of the smaller side, for the input's gradient of a layer with a stride.
CHANNELS_PLANES_STRIDED = 16
# Channels of the smaller side, for the weights' gradient.
CHANNELS_PLANES_WEIGHTS = 12
# Share of an output's taps that meet a cell, below which they are taken one by one.
SPARSE = 0.6
