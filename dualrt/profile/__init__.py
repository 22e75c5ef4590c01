"""Profile: measures the machine at hand, and describes it as a cluster that can be simulated.

Owns what is measured (`bench`, in processes that `crew` starts and `worker` is), in which order and
with whom (`measure`), and what the simulator is told of it (`description`). Part of the composition
root: nothing else of dualrt imports it but the command line.

A figure is taken from what a real run executes: the workload's own gradient, the weights' own
update and blend, the transport's own exchange; and with as many processes at once as a run has
learners, as these share the machine.
"""
