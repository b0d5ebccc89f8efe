"""
The fault matrix: what a worker does about each trouble there may be with Realtime, measured from outside.

`rows` says what is done and what must hold, `lane` does it to a stack and a worker of its own, `journal` reads what
the worker says about itself, `table` tells what came out. `saboteur` is loaded by the worker where the trouble is
inside it.
"""
