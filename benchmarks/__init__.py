"""convlib and the frameworks, side by side on this machine: `python -m benchmarks.run --help`, `benchmarks.zoo --help`.

shapes: what is measured. exact: what must come out. peers: who is compared. measure: how the time is taken.
machine: where it was measured. vectors: as which machine. peak: how fast it can be there at most. costs: memory and
compiling. training: a step of a small network. run: all of it together, written down as JSON.
networks: the layers of real networks. regret: the choice among algorithms. zoo: those two together, written down too.
pool: how threads hear of work, convlib's board beside the executor of the standard library.
tune: the numbers of the engine on this machine, and what each is worth.
"""
