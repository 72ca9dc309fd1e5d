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

from convlib.kernels.simd import check_array, compiled, primitive

__all__ = ["look", "add", "replace", "MEMORY", "address", "CLOSED", "PATIENCE", "AWAKE", "OTHER_TYPES", "LOOKS",
    "new_board", "serve", "take_down", "share"]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_JUMP = ir.FunctionType(_INT32, [_INT64] * 2)  # how a trampoline is called


def _cell(cpu, board, place):
    """The address of a number on a board; what is no board is refused."""
    check_array(cpu.name, board[0], written=True)
    if board[0].dtype != types.int64:
        raise TypingError(f"{cpu.name}: expected an array of int64, got {board[0]}")
    return cpu.address(board, place, 1)


@primitive(lambda *_: types.int64)
def look(cpu, board, place):
    """Read a number that others may have changed (chapter "How the engine is wired")."""
    return cpu.builder.load_atomic(_cell(cpu, board, place), "acquire", 8)


@primitive(lambda *_: types.int64)
def add(cpu, board, place, number):
    """Add to a number; who sees it, sees all before (chapter "How the engine is wired")."""
    return cpu.builder.atomic_rmw("add", _cell(cpu, board, place), number, "acq_rel")


@primitive(lambda *_: types.boolean)
def replace(cpu, board, place, old, new):
    """Replace a number if it is still the old one (chapter "How the engine is wired")."""
    pair = cpu.builder.cmpxchg(_cell(cpu, board, place), old, new, "acq_rel", "acquire")
    return cpu.builder.extract_value(pair, 1)


MEMORY = 4096  # bytes for the arguments of a kernel


def _stamp(kinds):
    """A number for the types of a kernel's arguments."""
    return zlib.crc32(str(kinds).encode())


def address(kernel, arguments, spaces):
    """Return a kernel's address, and its types' stamp (chapter "How the engine is wired")."""
    kinds = (types.intp, types.intp, *map(numba.typeof, (*arguments, spaces)))
    with global_compiler_lock:  # LLVM serves one thread at a time
        kernel.compile(kinds)
        result = kernel.overloads[kinds]
        name = result.fndesc.llvm_func_name
        return result.library.get_pointer_to_function(name), _stamp(kinds)


def _trampoline(context, builder, content, kinds):
    """The function that calls a kernel for a job with the arguments in some memory."""
    name = f"{builder.function.name}.trampoline"
    function = ir.Function(builder.module, _JUMP, name)
    function.linkage = "internal"
    inside, (memory, job) = ir.IRBuilder(function.append_basic_block()), function.args
    packed = inside.load(inside.inttoptr(memory, content.as_pointer()), align=8)
    kernel, jobs, spaces, space, arguments = cgutils.unpack_tuple(inside, packed)
    part = context.make_array(kinds[-1])(context, inside, spaces)  # the job's own
    part.data = inside.gep(part.data, [inside.mul(job, space)])
    part.nitems, part.shape = space, cgutils.pack_array(inside, [space])
    kind = context.call_conv.get_function_type(types.none, kinds)
    given = [job, jobs, *cgutils.unpack_tuple(inside, arguments), part._getvalue()]
    given = context.get_arg_packer(kinds).as_arguments(inside, given)
    answers = [cgutils.alloca_once_value(inside, ir.Constant(each.pointee, None))
               for each in kind.args[:2]]  # the result, and what went wrong
    inside.ret(inside.call(inside.inttoptr(kernel, kind.as_pointer()), [*answers, *given]))
    return function


@intrinsic
def _pack(typing_context, memory, stamp, content):
    """Pack a kernel's address and arguments; return its trampoline's, or 0 for other types."""
    check_array("share", memory, written=True)
    _, _, spaces, _, arguments = content
    kinds = (types.intp, types.intp, *arguments, spaces)

    def generate(context, builder, signature, values):
        data = context.make_array(memory)(context, builder, values[0]).data
        if context.get_abi_sizeof(values[2].type) > MEMORY:
            raise ValueError(f"arguments: expected at most {MEMORY} bytes of them")
        builder.store(values[2], builder.bitcast(data, values[2].type.as_pointer()), align=8)
        known = builder.icmp_signed("==", values[1], _INT64(_stamp(kinds)))
        function = builder.ptrtoint(_trampoline(context, builder, values[2].type, kinds), _INT64)
        return builder.select(known, function, _INT64(0))

    return types.int64(memory, types.int64, content), generate


_NOTICES = 8  # on the board
_NUMBERS = 8  # of a notice: a cache line of its own
_LEFT, _ENDED, _TRAMPOLINE, _ARGUMENTS, _TAKEN, _FAILED = range(6)
CLOSED = _NOTICES * _NUMBERS  # behind the notices: whether the board is closed, ...
PATIENCE = CLOSED + 1  # ... after how many looks in vain a thread rests, ...
AWAKE = CLOSED + _NUMBERS  # ... and how many helpers look
_FULL = -1  # in place of a notice: there is no room on the board
OTHER_TYPES = -2  # the kernel's address is one for other types
LOOKS = 1000  # so many looks take a few millionths of a second


def new_board(patience=20 * LOOKS):
    """Return an empty board (chapter "How the engine is wired")."""
    board = np.zeros(AWAKE + _NUMBERS, np.int64)
    board[PATIENCE] = patience
    return board


@primitive(lambda *_: types.int32)
def _jump(cpu, trampoline, memory, job):
    function = cpu.builder.inttoptr(trampoline, _JUMP.as_pointer())
    return cpu.builder.call(function, [memory, job])


@compiled
def _help(board, notice):
    """Claim a job of a notice, and do it; return whether there was one."""
    left = look(board, notice + _LEFT)
    if left <= 0 or not replace(board, notice + _LEFT, left, left - 1):
        return False
    if _jump(board[notice + _TRAMPOLINE], board[notice + _ARGUMENTS], left - 1) != 0:
        add(board, notice + _FAILED, 1)
    add(board, notice + _ENDED, 1)
    return True


@compiled
def serve(board):
    """Help, until too many looks found nothing (chapter "How the engine is wired")."""
    idle = 0
    add(board, AWAKE, 1)
    while idle < look(board, PATIENCE) and look(board, CLOSED) == 0:
        idle += 1
        for notice in range(0, CLOSED, _NUMBERS):
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
    while look(board, notice + _ENDED) < jobs:
        looks += 1
        if looks > look(board, PATIENCE):
            _nap(1 if _WINDOWS else 50)  # thousandths of a second there, else millionths
        elif looks % LOOKS == 0:
            _give_way()
    failed = board[notice + _FAILED]
    add(board, notice + _TAKEN, -1)
    return failed


@compiled
def _post(board, trampoline, memory, jobs):
    """Put up a notice, and work until all its jobs have ended; return as `take_down`, or _FULL."""
    notice = 0
    while not replace(board, notice + _TAKEN, 0, 1):
        notice += _NUMBERS
        if notice == CLOSED:
            return _FULL
    board[notice + _ENDED] = board[notice + _FAILED] = 0
    board[notice + _TRAMPOLINE], board[notice + _ARGUMENTS] = trampoline, memory
    add(board, notice + _LEFT, jobs)  # from now on others see it
    while look(board, notice + _LEFT) > 0:
        _help(board, notice)
    return take_down(board, notice, jobs)


@compiled
def share(board, memory, kernel, jobs, spaces, space, arguments):
    """Share the jobs of a kernel with all who help; return how many went wrong.

    OTHER_TYPES and _FULL say that none has begun. Source: chapter "How the engine is wired".
    """
    trampoline = _pack(memory, kernel[1], (kernel[0], jobs, spaces, space, arguments))
    return _post(board, trampoline, memory.ctypes.data, jobs) if trampoline else OTHER_TYPES
