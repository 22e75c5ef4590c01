"""Tests of the speech workload."""
