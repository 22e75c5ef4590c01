"""Replay: the learners of a real run once more, in the order that was kept of it.

Owns a third driver, beside the simulator and the real runtime: nothing takes time and nothing is
sent, and who comes next is known. Must not know any algorithm, nor a file.
"""
