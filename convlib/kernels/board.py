# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A board with notices: how threads that are awake hear of work without Python's lock.

Chapter "How the engine is wired" builds this module.
"""

import sys
import zlib

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.extending import intrinsic

from convlib.kernels.simd import address_of, check_array, compiled

__all__ = [
    "look",
    "add",
    "replace",
    "MEMORY",
    "address",
    "NOTICES",
    "NUMBERS",
    "LEFT",
    "ENDED",
    "TAKEN",
    "FAILED",
    "CLOSED",
    "PATIENCE",
    "AWAKE",
    "OTHER_TYPES",
    "LOOKS",
    "new_board",
    "serve",
    "take_down",
    "share",
]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def _word(name, do):
    """What makes the code of a word: it is done to a number on a board, and refused elsewhere."""

    def generate(context, builder, signature, arguments):
        board = signature.args[0]
        check_array(name, board, written=True)
        if board.dtype != types.int64:
            raise TypingError(f"{name}: expected an array of int64, got {board}")
        address = address_of(context, builder, board, *arguments[:2], _INT64(1))
        return do(builder, address, *arguments[2:])

    return generate


@intrinsic
def look(typing_context, board, place):
    """Read a number that others may have changed (chapter "How the engine is wired")."""
    read = _word("look", lambda builder, address: builder.load_atomic(address, "acquire", 8))
    return types.int64(board, types.intp), read


@intrinsic
def add(typing_context, board, place, number):
    """Add to a number; who sees it, sees all before (chapter "How the engine is wired")."""

    def change(builder, address, number):
        return builder.atomic_rmw("add", address, number, "acq_rel")

    return types.int64(board, types.intp, types.int64), _word("add", change)


@intrinsic
def replace(typing_context, board, place, old, new):
    """Replace a number if it is still the old one (chapter "How the engine is wired")."""

    def change(builder, address, old, new):
        pair = builder.cmpxchg(address, old, new, "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    number = types.int64
    return types.boolean(board, types.intp, number, number), _word("replace", change)


MEMORY = 4096  # bytes for the arguments of a kernel


def address(kernel, arguments, spaces):
    """Return a kernel's address, and its types' stamp (chapter "How the engine is wired")."""
    kinds = (types.intp, types.intp, *map(numba.typeof, (*arguments, spaces)))
    with global_compiler_lock:  # LLVM serves one thread at a time
        kernel.compile(kinds)
        result = kernel.overloads[kinds]
        name = result.fndesc.llvm_func_name
        return result.library.get_pointer_to_function(name), zlib.crc32(str(kinds).encode())


def _lent(context, builder, kind, value):
    """A value without its counters of references: who packs keeps the arrays alive."""
    if isinstance(kind, types.BaseTuple):
        parts = zip(kind.types, cgutils.unpack_tuple(builder, value), strict=True)
        parts = [_lent(context, builder, *part) for part in parts]
        return context.make_tuple(builder, kind, parts)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    return value


def _trampoline(context, builder, content, spaces_kind, kinds):
    """The function that calls a kernel for a job with the arguments in some memory."""
    name = f"{builder.function.name}.trampoline"
    function = ir.Function(builder.module, ir.FunctionType(_INT32, [_INT64] * 2), name)
    function.linkage = "internal"
    inside, (memory, job) = ir.IRBuilder(function.append_basic_block()), function.args
    packed = inside.load(inside.inttoptr(memory, content.as_pointer()), align=8)
    kernel, jobs, spaces, space, *arguments = cgutils.unpack_tuple(inside, packed)
    part = context.make_array(spaces_kind)(context, inside, spaces)  # the job's own
    part.data = inside.gep(part.data, [inside.mul(job, space)])
    part.nitems, part.shape = space, cgutils.pack_array(inside, [space])
    kind = context.call_conv.get_function_type(types.none, kinds)
    packer = context.get_arg_packer(kinds)
    given = packer.as_arguments(inside, [job, jobs, *arguments, part._getvalue()])
    answers = [cgutils.alloca_once_value(inside, ir.Constant(each.pointee, None))
               for each in kind.args[:2]]  # the result, and what went wrong
    inside.ret(inside.call(inside.inttoptr(kernel, kind.as_pointer()), [*answers, *given]))
    return function


@intrinsic
def _pack(typing_context, memory, kernel, jobs, spaces, space, arguments):
    """Pack a kernel's arguments; return its trampoline's address, or 0 for other types."""
    check_array("share", memory, written=True)
    kinds = (types.intp, types.intp, *arguments.types, spaces)

    def generate(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        where, expected = cgutils.unpack_tuple(builder, values[1])
        (jobs, spaces, space), given = values[2:5], cgutils.unpack_tuple(builder, values[5])
        lent = [_lent(context, builder, *each) for each in
                zip((signature.args[3], *arguments.types), (spaces, *given), strict=True)]
        packed = cgutils.pack_struct(builder, [where, jobs, lent[0], space, *lent[1:]])
        if context.get_abi_sizeof(packed.type) > MEMORY:
            raise ValueError(f"arguments: expected at most {MEMORY} bytes of them")
        builder.store(packed, builder.bitcast(data, packed.type.as_pointer()), align=8)
        function = _trampoline(context, builder, packed.type, signature.args[3], kinds)
        stamp = _INT64(zlib.crc32(str(kinds).encode()))
        known = builder.icmp_signed("==", expected, stamp)
        return builder.select(known, builder.ptrtoint(function, _INT64), _INT64(0))

    whole = types.int64
    return whole(memory, types.UniTuple(whole, 2), whole, spaces, whole, arguments), generate


NOTICES = 8  # on the board
NUMBERS = 8  # of a notice: a cache line of its own
LEFT, ENDED, _TRAMPOLINE, _ARGUMENTS, TAKEN, FAILED = range(6)
CLOSED = NOTICES * NUMBERS  # behind the notices: whether the board is closed, ...
PATIENCE = CLOSED + 1  # ... after how many looks in vain a thread rests, ...
AWAKE = CLOSED + NUMBERS  # ... and how many helpers look
_FULL = -1  # in place of a notice: there is no room on the board
OTHER_TYPES = -2  # the kernel's address is one for other types
LOOKS = 1000  # so many looks take a few millionths of a second


def new_board(patience=20 * LOOKS):
    """Return an empty board (chapter "How the engine is wired")."""
    board = np.zeros(AWAKE + NUMBERS, np.int64)
    board[PATIENCE] = patience
    return board


@intrinsic
def _jump(typing_context, trampoline, memory, job):
    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_INT32, [_INT64] * 2)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return types.int32(types.int64, types.int64, types.int64), generate


@compiled
def _help(board, notice):
    """Claim a job of a notice, and do it; return whether there was one."""
    left = look(board, notice + LEFT)
    if left <= 0 or not replace(board, notice + LEFT, left, left - 1):
        return False
    if _jump(board[notice + _TRAMPOLINE], board[notice + _ARGUMENTS], left - 1) != 0:
        add(board, notice + FAILED, 1)
    add(board, notice + ENDED, 1)
    return True


@compiled
def serve(board):
    """Help, until too many looks found nothing (chapter "How the engine is wired")."""
    idle = 0
    add(board, AWAKE, 1)
    while idle < look(board, PATIENCE) and look(board, CLOSED) == 0:
        idle += 1
        for notice in range(0, CLOSED, NUMBERS):
            if _help(board, notice):
                idle = 0
    add(board, AWAKE, -1)


_WINDOWS = sys.platform == "win32"
_give_way = types.ExternalFunction("SwitchToThread" if _WINDOWS else "sched_yield", types.int32())
_nap = types.ExternalFunction("Sleep" if _WINDOWS else "usleep", types.void(types.uint32))


@compiled
def take_down(board, notice, jobs):
    """Wait for all jobs; return how many went wrong (chapter "How the engine is wired")."""
    looks = 0
    while look(board, notice + ENDED) < jobs:
        looks += 1
        if looks > look(board, PATIENCE):
            _nap(1 if _WINDOWS else 50)  # thousandths of a second there, else millionths
        elif looks % LOOKS == 0:
            _give_way()
    failed = board[notice + FAILED]
    add(board, notice + TAKEN, -1)
    return failed


@compiled
def _post(board, trampoline, memory, jobs):
    """Put up a notice, and work until all its jobs have ended; return as `take_down`, or _FULL."""
    notice = 0
    while not replace(board, notice + TAKEN, 0, 1):
        notice += NUMBERS
        if notice == CLOSED:
            return _FULL
    board[notice + ENDED] = board[notice + FAILED] = 0
    board[notice + _TRAMPOLINE], board[notice + _ARGUMENTS] = trampoline, memory
    add(board, notice + LEFT, jobs)  # from now on others see it
    while look(board, notice + LEFT) > 0:
        _help(board, notice)
    return take_down(board, notice, jobs)


@compiled
def share(board, memory, kernel, jobs, spaces, space, arguments):
    """Share the jobs of a kernel with all who help; return how many went wrong.

    OTHER_TYPES and _FULL say that none has begun. Source: chapter "How the engine is wired".
    """
    trampoline = _pack(memory, kernel, jobs, spaces, space, arguments)
    return _post(board, trampoline, memory.ctypes.data, jobs) if trampoline else OTHER_TYPES
