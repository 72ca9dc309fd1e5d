"""convlib and the frameworks, side by side on this machine: `python -m benchmarks.run --help`.

shapes: what is measured. exact: what must come out. peers: who is compared. measure: how the time is taken.
machine: where it was measured. peak: how fast it can be there at most. costs: memory and compiling. run: all of it
together, written down as JSON.
"""
