"""Streams are independent, and the same everywhere."""

from __future__ import annotations

from dualrt.core.seeds import derive, stream


def test_the_same_names_give_the_same_stream() -> None:
    assert stream(1, "device", 3).random() == stream(1, "device", 3).random()


def test_seed_and_every_name_matter() -> None:
    seeds = {
        derive(1),
        derive(2),
        derive(1, "a"),
        derive(1, "b"),
        derive(1, "a", 0),
        derive(1, "a", 1),
    }
    assert len(seeds) == 6


def test_a_stream_does_not_change_between_versions() -> None:
    """Recorded: a change here changes every digest that anyone has kept."""
    assert derive(1, "device", 0) == 7800999779732320966
