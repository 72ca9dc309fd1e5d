# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A board with notices: how threads that are awake hear of work without Python's lock.

Chapter "Planes and vectors" builds this module.
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
    "INT32",
    "INT64",
    "look",
    "put",
    "add",
    "replace",
    "MEMORY",
    "stamp",
    "pack",
    "address",
    "NOTICES",
    "NUMBERS",
    "CLOSED",
    "LEFT",
    "ENDED",
    "TRAMPOLINE",
    "ARGUMENTS",
    "TAKEN",
    "FAILED",
    "FULL",
    "LOOKS",
    "new_board",
    "serve",
    "post",
    "take_down",
    "OTHER_TYPES",
    "share",
]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

INT32, INT64 = ir.IntType(32), ir.IntType(64)


def _check_board(name, board):
    """Refuse, when it is compiled, an array that is no board."""
    check_array(name, board, written=True)
    if board.dtype != types.int64:
        raise TypingError(f"{name}: expected an array of int64, got {board}")


@intrinsic
def look(typing_context, board, place):
    """Read a number that another thread may have changed (chapter "Planes and vectors")."""
    _check_board("look", board)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(address, "acquire", 8)

    return types.int64(board, types.intp), generate


@intrinsic
def put(typing_context, board, place, number):
    """Write a number; whoever sees it sees all that was written before.

    Source: chapter "Planes and vectors".
    """
    _check_board("put", board)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        builder.store_atomic(arguments[2], address, "release", 8)
        return context.get_dummy_value()

    return types.void(board, types.intp, types.int64), generate


@intrinsic
def add(typing_context, board, place, number):
    """Add to a number, and return what it was before (chapter "Planes and vectors")."""
    _check_board("add", board)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        return builder.atomic_rmw("add", address, arguments[2], "acq_rel")

    return types.int64(board, types.intp, types.int64), generate


@intrinsic
def replace(typing_context, board, place, old, new):
    """Replace a number if it is still the old one; return whether it was.

    Source: chapter "Planes and vectors".
    """
    _check_board("replace", board)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        pair = builder.cmpxchg(address, *arguments[2:], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(board, types.intp, types.int64, types.int64), generate


MEMORY = 4096  # bytes for the arguments of a kernel


def _workspace(context, builder, kind, spaces, job, space):
    """The workspace of a job: its part of all the spaces."""
    array = context.make_array(kind)(context, builder, spaces)
    array.data = builder.gep(array.data, [builder.mul(job, space)])
    array.nitems, array.shape = space, cgutils.pack_array(builder, [space])
    return array._getvalue()


def _trampoline(context, builder, content, spaces_kind, kinds):
    """The function that calls a kernel for a job with the arguments in some memory."""
    name = f"{builder.function.name}.trampoline"
    function = ir.Function(builder.module, ir.FunctionType(INT32, [INT64] * 2), name)
    function.linkage = "internal"
    inside, (memory, job) = ir.IRBuilder(function.append_basic_block()), function.args
    values = _read(inside, inside.inttoptr(memory, content.as_pointer()), content)
    kernel, jobs, spaces, space, *arguments = values
    workspace = _workspace(context, inside, spaces_kind, spaces, job, space)
    kind = context.call_conv.get_function_type(types.none, kinds)
    packer = context.get_arg_packer(kinds)
    given = packer.as_arguments(inside, [job, jobs, *arguments, workspace])
    result, mistake = (cgutils.alloca_once(inside, each.pointee) for each in kind.args[:2])
    inside.store(ir.Constant(kind.args[0].pointee, None), result)
    inside.store(ir.Constant(kind.args[1].pointee, None), mistake)
    inside.ret(inside.call(inside.inttoptr(kernel, kind.as_pointer()), [result, mistake, *given]))
    return function


def _places(builder, memory, content):
    """The places of packed values."""
    zero = ir.Constant(INT32, 0)
    for k in range(len(content.elements)):
        yield builder.gep(memory, [zero, ir.Constant(INT32, k)])


def _read(builder, memory, content):
    """The packed values."""
    return [builder.load(place, align=8) for place in _places(builder, memory, content)]


def _kinds(arguments, spaces):
    """The types of a kernel's arguments: job, jobs, its own ones, workspace."""
    return (types.intp, types.intp, *arguments, spaces)


def stamp(kinds):
    """Return a number that tells one list of types from another (chapter "Planes and vectors")."""
    return zlib.crc32(str(kinds).encode())


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


@intrinsic
def _pack(typing_context, memory, kernel, jobs, spaces, space, arguments):
    check_array("pack", memory, written=True)
    kinds = _kinds(arguments.types, spaces)

    def generate(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        values = [_lent(context, builder, *each)
                  for each in zip(signature.args[1:], values[1:], strict=True)]
        values = [*values[:4], *cgutils.unpack_tuple(builder, values[4])]
        content = ir.LiteralStructType([value.type for value in values])
        if context.get_abi_sizeof(content) > MEMORY:
            raise ValueError(f"arguments: expected at most {MEMORY} bytes of them")
        memory = builder.bitcast(data, content.as_pointer())
        for value, place in zip(values, _places(builder, memory, content), strict=True):
            builder.store(value, place, align=8)
        function = _trampoline(context, builder, content, signature.args[3], kinds)
        return builder.ptrtoint(function, INT64)

    whole = types.int64
    return whole(memory, whole, whole, spaces, whole, arguments), generate


@intrinsic
def _stamp(typing_context, arguments, spaces):
    number = stamp(_kinds(arguments.types, spaces))

    def generate(context, builder, signature, values):
        return context.get_constant(types.int64, number)

    return types.int64(arguments, spaces), generate


@compiled
def pack(memory, kernel, expected, jobs, spaces, space, arguments):
    """Pack a kernel's arguments; return its trampoline's address, or 0 for other types.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    if expected != _stamp(arguments, spaces):
        return 0
    return _pack(memory, kernel, jobs, spaces, space, arguments)


def address(kernel, arguments, spaces):
    """Return a kernel's address for arguments of these types, and the types' stamp.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    kinds = _kinds(map(numba.typeof, arguments), numba.typeof(spaces))
    with global_compiler_lock:  # LLVM serves one thread at a time
        kernel.compile(kinds)
        result = kernel.overloads[kinds]
        name = result.fndesc.llvm_func_name
        return result.library.get_pointer_to_function(name), stamp(kinds)


NOTICES = 8  # on the board
NUMBERS = 8  # of a notice: a cache line of its own
CLOSED = NOTICES * NUMBERS  # behind the notices: whether the board is closed
LEFT, ENDED, TRAMPOLINE, ARGUMENTS, TAKEN, FAILED = range(6)
FULL = -1  # in place of a notice: there is no room on the board
LOOKS = 1000  # so many looks take a few millionths of a second


def new_board():
    """Return an empty board (chapter "Planes and vectors")."""
    return np.zeros(CLOSED + NUMBERS, np.int64)


@intrinsic
def _jump(typing_context, trampoline, memory, job):
    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(INT32, [INT64] * 2)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return types.int32(types.int64, types.int64, types.int64), generate


@compiled
def _do(board, notice, job):
    """Do a job of a notice; note it down if something went wrong."""
    if _jump(board[notice + TRAMPOLINE], board[notice + ARGUMENTS], job) != 0:
        add(board, notice + FAILED, 1)


@compiled
def _help(board, notice):
    """Claim a job of a notice, and do it; return whether there was one."""
    left = look(board, notice + LEFT)
    if left > 0 and replace(board, notice + LEFT, left, left - 1):
        _do(board, notice, left)
        add(board, notice + ENDED, 1)
        return True
    return False


@compiled
def serve(board, patience):
    """Help wherever help is wanted, until so many looks in a row found nothing.

    Source: chapter "Planes and vectors".
    """
    idle = 0
    while idle < patience and look(board, CLOSED) == 0:
        idle += 1
        for notice in range(0, CLOSED, NUMBERS):
            if _help(board, notice):
                idle = 0


@compiled
def post(board, trampoline, memory, jobs):
    """Put up a notice, and work until no job is left; return it, or FULL.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    notice = 0
    while not replace(board, notice + TAKEN, 0, 1):
        notice += NUMBERS
        if notice == CLOSED:
            return FULL
    board[notice + ENDED] = board[notice + FAILED] = 0
    board[notice + TRAMPOLINE], board[notice + ARGUMENTS] = trampoline, memory
    put(board, notice + LEFT, jobs - 1)  # from now on others see it
    _do(board, notice, 0)
    while _help(board, notice):
        pass
    return notice


@intrinsic
def _give_way(typing_context):
    """Let another thread of this core go first, if there is one."""

    def generate(context, builder, signature, arguments):
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        kind = ir.FunctionType(INT32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@compiled
def take_down(board, notice, jobs):
    """Remove a notice when all its jobs have ended; return how many went wrong.

    Source: chapter "Planes and vectors".
    """
    looks = 0
    while look(board, notice + ENDED) < jobs - 1:
        looks += 1
        if looks % LOOKS == 0:
            _give_way()
    failed = board[notice + FAILED]
    put(board, notice + TAKEN, 0)
    return failed


OTHER_TYPES = -2  # in place of a notice: the kernel's address is one for other types


@compiled
def share(board, memory, kernel, expected, jobs, spaces, space, arguments):
    """Share the jobs of a kernel with all who help; return how many went wrong.

    It returns when all jobs have ended, and FULL or OTHER_TYPES if none has begun.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    trampoline = pack(memory, kernel, expected, jobs, spaces, space, arguments)
    if trampoline == 0:
        return OTHER_TYPES
    notice = post(board, trampoline, memory.ctypes.data, jobs)
    return FULL if notice == FULL else take_down(board, notice, jobs)
