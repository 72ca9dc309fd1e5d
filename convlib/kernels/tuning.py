"""Every number that was tuned, in one place; NOTES.md says what each is worth."""

from convlib.kernels.simd import REGISTER_BYTES

# rows x vectors of the block: 8 x 2 leaves 16 of 32 registers for its operands, 6 x 2 four of 16
ROWS, VECTORS = {64: (8, 2), 32: (6, 2), 16: (6, 2)}[REGISTER_BYTES]
PIECE = 512  # products in one chain
SET = 100_000  # numbers in a set of strips, which stays in the second cache
IN_PLACE = 64  # output channels up to which strips of 1x1 layers are read where they lie
PIXELS = 256  # of the flow in one chain of a weight's gradient
SPAN = 128  # numbers: no block of planes is wider
FLOW = 30_000  # numbers of the flow whose dot products are taken at a time
TALL = 7  # output lines of a depthwise channel computed together
