"""dualrt in anyone's own training loop: `with dualrt.join(model, optimizer, ...) as group`.

The loop is the workload. A learner (`dualrt.algorithms`, unchanged) runs beside it on threads of
the real runtime and asks for gradients; what answers is no task of ours but whatever the user's
thread did between two calls of `group.step()`. So there is no second implementation of any
algorithm, exchange or end.

    group         what the user holds
    company       one learner among others, or alone
    workload      the loop as a workload, and the weights that go with it
    course        what the caller says of the run, as a scenario
    logbook       the records of a loop
    parameters    a model's parameters as views into one flat buffer
    leftovers     what else belongs to a model: buffers, frozen parameters
    belongings    what of a loop goes into a checkpoint
    nested        the form of that
    preemption    SIGTERM, and what a loop is told of it
    solo          checkpoints of a loop that trains alone
    handover      how one thread gives something to another

Part of the composition root: it knows the real driver and the algorithms' names. Importing it loads
torch, so `dualrt.join` imports it when it is first asked for.
"""

from __future__ import annotations

from dualrt.loop.group import Group, join

__all__ = ["Group", "join"]
