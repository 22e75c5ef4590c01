"""Doctor: will this run work on these machines, before it is started?

Owns what is looked at (`host`, on one machine; `exchange`, between two learners, in the order that
`schedule` gives), with whom and when (`examination`), and what is said of it (`findings`,
`verdicts`). Part of the composition root: nothing else of dualrt imports it but the command line.

Whatever can be is done as a run does it: its transport, its keys, its ports, its collectives. What
is wrong with one machine or one way between two does not keep the rest from being looked at.
"""
