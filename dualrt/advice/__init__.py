"""Advice: what a communication graph will do on a given cluster, before anybody trains on it.

Owns the joining of a topology with the simulator: traffic on physical links (`loads`), trials of
real exchanges in virtual time (`trial`), the verdict (`report`), better graphs (`better`), and the
pictures of both (`pictures`). Part of the composition root: nothing else of dualrt imports it but
the command line.
"""
