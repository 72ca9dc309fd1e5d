"""Make object code for AArch64 of all that some small layers compile: tests/test_machines.py runs this as a program.

    python tests/compile_for_aarch64.py

What Numba hands over to LLVM names no processor but in its first lines. Here it is handed over twice: for this machine,
which computes the layers with it, and for the other one, where it is looked at. It is not run: nothing here can run it.
"""

import itertools
import json
import re
import sys
from collections import Counter

import llvmlite.binding as llvm
import numpy as np
from numba.core.codegen import CPUCodeLibrary
from numba.core.dispatcher import Dispatcher

TRIPLE = "aarch64-unknown-linux-gnu"
AARCH64 = 183  # in the header of an object file: the machine that it is for
handed_over = {}  # for each part of the code: its text, before LLVM has made anything of it
finalize = CPUCodeLibrary.finalize


def noting(library):
    handed_over[library.name] = str(library._final_module)
    finalize(library)


def compute():
    """Have every algorithm compute small layers in all three directions, by two threads."""
    import convlib
    from convlib import algorithms, functional, shapes

    functional.ENOUGH = 1
    convlib.set_num_threads(2)
    random = np.random.default_rng(0)
    layers = [((2, 3, 12, 20), (8, 3, 3, 3), 1, 1), ((2, 40, 9, 9), (24, 40, 3, 3), 1, 1),
              ((2, 20, 9, 9), (24, 20, 3, 3), 2, 1), ((2, 6, 12, 20), (6, 1, 3, 3), 1, 6)]  # fmt: skip
    for name, (size, kernel, stride, groups) in itertools.product(algorithms.ALGORITHMS, layers):
        geometry = shapes.conv2d_geometry(size, kernel, stride, 1, 1, groups)
        if algorithms.suits(name, geometry, np.dtype(np.float32)):
            x, w = (random.standard_normal(each).astype(np.float32) for each in (size, kernel))
            options = {"stride": stride, "padding": 1, "groups": groups, "algorithm": name}
            output = convlib.conv2d(x, w, **options)
            convlib.conv2d_input_grad(x.shape, w, output, **options)
            convlib.conv2d_weight_grad(x, w.shape, output, **options)


def kernels():
    """Yield the name and the library of each compiled function of convlib that is not part of another one."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("convlib.")]
    functions = {id(value): value for module in modules for value in vars(module).values()
                 if isinstance(value, Dispatcher)}  # fmt: skip
    compiled = [(function.py_func, result.library) for function in functions.values()
                for result in function.overloads.values()]  # fmt: skip
    parts = {part.name for _, library in compiled for part in library._linking_libraries}
    for function, library in compiled:
        if library.name not in parts:
            yield f"{function.__module__.removeprefix('convlib.kernels.')}.{function.__name__}", library


def for_other(library, machine):
    """The module of a kernel and of all that it calls, made for another machine."""
    parts, waiting = {}, [library]
    while waiting:
        part = waiting.pop()
        if part.name not in parts:
            parts[part.name] = handed_over[part.name]
            waiting += part._linking_libraries
    modules = []
    for code in parts.values():
        code = re.sub(r'^target triple = ".*"$', f'target triple = "{TRIPLE}"', code, flags=re.MULTILINE)
        layout = f'target datalayout = "{machine.target_data}"'
        modules.append(llvm.parse_assembly(re.sub("^target datalayout = .*$", layout, code, flags=re.MULTILINE)))
    for part in modules[1:]:
        modules[0].link_in(part)
    assert modules[0].triple == TRIPLE and modules[0].data_layout == str(machine.target_data)
    modules[0].verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(modules[0], builder)
    return modules[0]


def main():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(opt=3)
    CPUCodeLibrary.finalize = noting
    compute()
    instructions = {}
    for name, library in kernels():
        module = for_other(library, machine)
        header = machine.emit_object(module)[:20]
        assert header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == AARCH64, name
        lines = re.findall(r"^\s(\w+)\s+\{?\s*v\d+\.(\d+\w)", machine.emit_assembly(module), re.MULTILINE)
        instructions.setdefault(name, Counter()).update(" ".join(words) for words in lines)
    print(json.dumps(instructions))


if __name__ == "__main__":
    main()
