"""Advice: what a communication graph will do on a given cluster, before anybody trains on it.

Owns the joining of a topology with the simulator: traffic on physical links (`loads`), trials of
real exchanges in virtual time (`trial`), what is found out (`examination`, `shape`) and said of it
(`report`, `verdict`), better graphs (`better`, `candidates`), how learners agree on several
(`compare`), and the pictures (`drawing`, `pictures`). Part of the composition root: nothing else of
dualrt imports it but the command line.
"""
