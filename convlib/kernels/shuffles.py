# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Words for vectors whose numbers change places, and for what comes early or in order.

Chapter "The matrix product inside" builds this module.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from convlib.kernels.simd import VectorType, address_of, check_array, check_room, compiled, lanes, load, store

__all__ = ["in_order", "fetch_early", "nothing", "plus", "every_second", "in_turns", "transpose"]


# Chapter "The matrix product inside" (chapters/gemm.ipynb)

@intrinsic
def _in_order(typing_context):
    def generate(context, builder, signature, arguments):
        builder.fence("acq_rel", "singlethread")  # for the compiler; no instruction
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _nothing(typing_context, array):
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array), generate


@intrinsic
def _plus(typing_context, a, b):
    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return a(a, b), generate


@intrinsic
def _fetch_early(typing_context, array, index):
    def generate(context, builder, signature, arguments):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = address_of(context, builder, signature.args[0], *arguments)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte] + [number] * 3),
            "llvm.prefetch.p0",
        )
        # to read, into the second cache: the first one is full of what is needed now
        settings = [ir.Constant(number, setting) for setting in (0, 2, 1)]
        builder.call(function, [builder.bitcast(place, byte), *settings])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _shuffle(builder, a, b, lanes):
    """A vector of some lanes of two vectors; those of the second count on from the first's."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _turns(count):
    """The lanes of two vectors in turns: those of a first vector, those of a second."""
    turns = [lane + which * count for lane in range(count) for which in (0, 1)]
    return turns[:count], turns[count:]


@intrinsic
def _every_second(typing_context, a, b):
    def generate(context, builder, signature, arguments):
        return _shuffle(builder, *arguments, list(range(0, 2 * arguments[0].type.count, 2)))

    return a(a, b), generate


@intrinsic
def _in_turns(typing_context, a, b):
    def generate(context, builder, signature, arguments):
        both = [_shuffle(builder, *arguments, half) for half in _turns(arguments[0].type.count)]
        return context.make_tuple(builder, signature.return_type, both)

    return types.UniTuple(a, 2)(a, b), generate


@intrinsic
def _transpose(typing_context, source, s, s_step, target, t, t_step):
    check_array("transpose", source)
    check_array("transpose", target, written=True)
    vector = VectorType(source.dtype)

    def generate(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        source, s, s_step, target, t, t_step = arguments
        pointer, align = context.get_value_type(vector).as_pointer(), vector.dtype.bitwidth // 8
        rows = []
        for _ in range(vector.lanes):
            place = address_of(context, builder, source_type, source, s)
            rows.append(builder.load(builder.bitcast(place, pointer)))
            rows[-1].align = align
            s = builder.add(s, s_step)
        half, halves = vector.lanes // 2, _turns(vector.lanes)
        for _ in range(half.bit_length()):  # each time, two rows in turns make two new ones
            rows = [_shuffle(builder, rows[i], rows[i + half], turns)
                    for i in range(half) for turns in halves]  # fmt: skip
        for row in rows:
            place = address_of(context, builder, target_type, target, t)
            builder.store(row, builder.bitcast(place, pointer), align=align)
            t = builder.add(t, t_step)
        return context.get_dummy_value()

    numbers = types.intp, types.intp
    return types.void(source, *numbers, target, *numbers), generate


if config.DISABLE_JIT:

    def in_order():
        pass

    def fetch_early(array, index):
        pass

    def nothing(array):
        return np.zeros(lanes(array), array.dtype)

    def plus(a, b):
        with np.errstate(over="ignore", invalid="ignore"):  # a processor does not warn
            return a + b

    def every_second(a, b):
        return np.concatenate([a, b])[::2]

    def in_turns(a, b):
        both = np.stack([a, b], axis=1).ravel()
        return both[: a.size], both[a.size :]

    def transpose(source, s, s_step, target, t, t_step):
        n = lanes(source)
        square = np.array([load(source, s + i * s_step) for i in range(n)])
        for i in range(n):
            store(target, t + i * t_step, square[:, i])
else:
    in_order, fetch_early, nothing, plus = _in_order, _fetch_early, _nothing, _plus
    every_second, in_turns, transpose = _every_second, _in_turns, _transpose
    if config.BOUNDSCHECK:
        _check = compiled(check_room)

        @compiled
        def transpose(source, s, s_step, target, t, t_step):
            n = lanes(source)
            _check(source, s, n), _check(source, s + (n - 1) * s_step, n)
            _check(target, t, n), _check(target, t + (n - 1) * t_step, n)
            _transpose(source, s, s_step, target, t, t_step)
