"""A pytest plugin beside nbval: a kernel that died or hangs fails its cell soon, and by name.

    python -m pytest -p tools.kernel_watch --nbval --nbval-cell-timeout=120 chapters

nbval waits for the next word of a kernel until the cell's time is up, although nobody may be there to say it, and goes
on with the next cell when a hanging one was interrupted. Here the process is looked at every second. After a kernel has
died or was given up, the rest of its notebook fails at once; these failures are expected ones, so that the report names
only the guilty cell.
"""

import signal
import time
from queue import Empty

import nbval.plugin
import pytest
from nbval.kernel import RunningKernel

SECONDS_BETWEEN_LOOKS = 1
# On a busy machine a kernel may be slow to pass on what a cell printed; nbval's five seconds are few.
SECONDS_FOR_OUTPUT = 30


class KernelDied(Exception):
    """The process of a kernel is gone."""


class WatchedKernel(RunningKernel):
    """A kernel of nbval that notices its own end."""

    end = float("inf")
    seconds_for_output = SECONDS_FOR_OUTPUT

    def get_message(self, stream, timeout=None):
        """Return the kernel's next message, as nbval does, or raise KernelDied."""
        end = min(self.end, time.monotonic() + (float("inf") if timeout is None else timeout))
        while True:
            alive = self.is_alive()  # first: what it said before it died is read to the last word
            if time.monotonic() >= self.end:
                raise Empty
            try:
                wait = min(SECONDS_BETWEEN_LOOKS, max(0, end - time.monotonic()))
                return super().get_message(stream, timeout=wait)
            except Empty:
                if not alive:
                    raise KernelDied(f"the kernel died: {self.last_sign()}") from None
                if time.monotonic() >= end:
                    raise

    def last_sign(self):
        """Return how the process ended."""
        code = self.km.provisioner.process.poll()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def interrupt(self):
        """Interrupt a cell whose time is up; from now on the kernel has a short while, even if it goes on talking."""
        super().interrupt()
        self.end = time.monotonic() + self.seconds_for_output


def pytest_configure(config):
    """Let nbval start kernels that are watched; what a cell printed is not awaited longer than the cell."""
    nbval.plugin.RunningKernel = WatchedKernel
    WatchedKernel.seconds_for_output = min(SECONDS_FOR_OUTPUT, config.option.nbval_cell_timeout)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell; where its kernel does not survive that, the rest of the notebook need not be tried."""
    notebook = item.parent
    item.output_timeout = WatchedKernel.seconds_for_output
    try:
        return (yield)
    except KernelDied as error:
        item.raise_cell_error(str(error))
    finally:
        if notebook.timed_out and notebook.kernel.is_alive():
            notebook.kernel.stop()
        notebook.timed_out = not notebook.kernel.is_alive()
