# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Every number of the engine that was found by measuring: what it is, and in which unit.

`python -m benchmarks.tune` finds them on a machine. Chapter "Vectors and the block" begins this module.
"""

from platform import machine

from convlib.kernels.simd import REGISTER_BYTES

__all__ = ["REGISTERS", "ROWS", "VECTORS", "PIECE", "SET", "IN_PLACE", "AGAIN", "APART", "WAYS", "KEPT", "UNPACKED",
    "AHEAD", "AT_ONCE", "PIXELS", "PLANE", "SHARES", "DEEP", "TALL", "SPAN", "BUNCH", "LINES", "FLOW", "NEARBY", "SUMS",
    "SETS", "DOTS", "FEW", "ABREAST", "NEAR", "SMALL", "EACH", "OUTPUTS", "TILES", "FEW_PIECES", "MANY_PIECES", "PART",
    "SECTIONS", "TRANSFORM", "TRANSFORM_WEIGHTS", "PREPARED", "CHANNELS_PLANES", "CHANNELS_PLANES_STRIDED",
    "CHANNELS_PLANES_WEIGHTS", "SPARSE", "LONG", "PACKED", "PACKED_BACK", "GATHERED"]


# Chapter "Vectors and the block" (chapters/block.ipynb)

# The vector registers of the processor: 32 with AVX-512 and on AArch64, else 16.
REGISTERS = 32 if REGISTER_BYTES == 64 or machine() in ("aarch64", "arm64") else 16
ROWS, VECTORS = (8, 2) if REGISTERS == 32 else (6, 2)  # the block: sums for which there is room


# Chapter "Packing: the layer as a matrix product" (chapters/packing.ipynb)

PIECE = 128  # products in one chain of sums: it bounds the rounding errors
SET = 50_000  # numbers in a set of strips, which must stay in the second cache
IN_PLACE = 64  # output channels up to which the strips of 1 x 1 layers are read where they lie
AGAIN, APART = 1024, 1 if REGISTERS == 32 else 32  # numbers: the first cache's places begin again; rows are apart
WAYS, KEPT = (12, 12) if REGISTERS == 32 else (7, 3)  # cache lines at a place, at most, and for IN_PLACE channels
UNPACKED = 100 if REGISTERS == 32 else 25  # cache lines at each place up to which turned 1 x 1 weights stay unpacked
AHEAD = 8  # channels: so far ahead the cells of a strip are asked for
AT_ONCE = (8, 8) if REGISTERS == 32 else (32, 8)  # numbers of the depth packed at a time: one tap, several


# Chapter "Back through the product" (chapters/back.ipynb)

PIXELS = 512 if REGISTERS == 32 else 800  # places in a chain of a weight's gradient: short ones pay more at their ends
PLANE = 100_000  # numbers of a plane up to which several images share one: a second cache holds it
SHARES = 8  # parts of a learning flow that there should be, so that several jobs have work
DEEP = 96  # output channels from which layers of stride 1 with several taps are scattered, too


# Chapter "A channel by itself" (chapters/alone.ipynb)

TALL = 7  # output lines of a depthwise channel, or places of direct convolution, that are computed together
SPAN = 128  # numbers: no block of planes is wider
BUNCH = 4096  # numbers of small planes that meet the flow together
LINES = 2000  # numbers of a row of output lines that are made together
FLOW = 15_000 * REGISTER_BYTES // 16  # numbers of the flow whose dot products are taken at a time: a chain of 3,750
NEARBY = 64  # vectors of a line of the flow in a chain of dot products: the first cache holds what meets
SUMS = 200_000  # sums of a gradient of weights that are kept at a time
SETS = 4  # sets of its rows that there should be, so that several jobs have work
DOTS = (4, 6) if REGISTERS == 32 else (3, 3)  # rows of the flow x taps in a block of dot products
FEW = ((0,) * 4,), ((0,) * 3,) * 4  # blocks for one output channel of a group, and for few or multiples of four
ABREAST = (0.5, 0.5, 1, 1) if REGISTERS == 32 else (2, 1, 2, 1)  # vectors of a short line: strides 1, 2; weights: 1, 2
NEAR = 250_000  # numbers of a group's planes that direct convolution reads again and again: 1 MB
SMALL = 20_000  # multiplications of a layer that is over before a plan is made
EACH = 4  # images of one pixel, up to which they are multiplied one by one


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

OUTPUTS = 4  # results of a tile of Winograd's algorithm, on one axis
TILES = 56  # tiles at once where the weights are few: all pieces stay in the second cache
FEW_PIECES = 800_000  # pieces of weights that count as few: they stay in the cache, too
MANY_PIECES = 1_000_000  # pieces of images at once where the weights are many
PART = 64  # channels at once where the weights are many
SECTIONS = 4  # sections of the tiles: so many threads can share the gradient of few weights


# Chapter "Choosing" (chapters/choosing.ipynb)

TRANSFORM, TRANSFORM_WEIGHTS = 24, 40  # products that take as long as the transforms of a number of a tile
PREPARED = 16  # tiles that take as long to multiply as the weights to transform
CHANNELS_PLANES = 96  # input channels of a group up to which planes beat the product
CHANNELS_PLANES_STRIDED = 16  # channels of the smaller side, for the input's gradient, stride > 1
CHANNELS_PLANES_WEIGHTS = 12  # channels of the smaller side, for the weights' gradient
SPARSE = 0.6  # share of an output's taps that meet a cell, below which they are taken one by one
LONG = 100  # products of a result from which on it pays to turn it, as direct convolution does
PACKED, PACKED_BACK = 32, 12  # places that take as long as packing the weights: for an output, for a flow
GATHERED = 10  # output channels that take as long as to gather the strips of a product
