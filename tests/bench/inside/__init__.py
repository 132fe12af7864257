"""Small programs that the benchmark puts into the lab's machines; they need Python alone.

Each reads one JSON request a line, answers with one JSON line, and ends with its input.
Times are of time.time(): one kernel, so one clock for all machines.
"""
