"""Loads: what a step of averaging puts on each physical link.

Owns the way from a schedule's matrices to bytes on links. Knows nothing of time but a link's
capacity: how exchanges overlap with gradients is for a trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualrt.advice.setting import Setting, links_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dualrt.sim.cluster import Cluster
    from dualrt.topology.schedules import Schedule
    from dualrt.topology.weights import Sparse

BLENDED = 4
"""Times that averaging moves the model in host memory, as `Learner.blend` charges it."""


@dataclass(frozen=True, slots=True)
class Load:
    """One direction of one link, in a step in which every learner averages once."""

    link: str
    bytes_per_step: float
    busy_s: float
    """Time that these bytes take if nothing else uses the link."""


def traffic(schedule: Schedule) -> Sparse:
    """Messages from learner i to learner j in a round, on average over rounds: [n, n].

    Who gives a share to another's weights must be sent them; an exchange is a message each way.
    """
    from scipy.sparse import csr_matrix

    rounds = schedule.rounds()
    givers, getters = [], []
    for matrix in rounds:
        sent = matrix.tocoo()
        apart = (sent.row != sent.col) & (sent.data != 0)
        givers.append(sent.col[apart])
        getters.append(sent.row[apart])
    ways = np.concatenate(givers), np.concatenate(getters)
    counts = np.full(len(ways[0]), 1.0 / len(rounds))
    # What is named twice is added up.
    return csr_matrix((counts, ways), shape=(schedule.learners, schedule.learners))


def loads(messages: Sparse, setting: Setting) -> list[Load]:
    """Every link that carries anything, the longest busy first; of links alike, in their order."""
    cluster = links_of(setting.cluster)
    counted = dict.fromkeys(cluster.links, 0.0)
    for sender, receiver, count in _ways(messages, cluster):
        for link in cluster.message_route(sender, receiver):
            counted[link.name] += count
    received = np.asarray(messages.sum(axis=0)).reshape(-1)
    for learner, count in enumerate(received.tolist()):
        for link in cluster.host_route(learner):
            counted[link.name] += BLENDED * count
    found = [
        Load(
            name,
            count * setting.model_bytes,
            count * setting.model_bytes / cluster.links[name].capacity_bytes_per_s,
        )
        for name, count in counted.items()
        if count
    ]
    return sorted(found, key=lambda load: -load.busy_s)


def _ways(messages: Sparse, cluster: Cluster) -> Iterator[tuple[int, int, float]]:
    """(sender, receiver, messages), where one learner may stand for all of its socket.

    Between servers a route depends on the two sockets alone, unless learners' threads are links. To
    ask for each pair of learners would take seconds on a complete graph of a thousand.
    """
    spec = cluster.spec
    sent = messages.tocoo()
    if spec.io_thread_bytes_per_s < math.inf:
        yield from zip(sent.row.tolist(), sent.col.tolist(), sent.data.tolist(), strict=True)
        return
    learners = np.arange(messages.shape[0])
    server = learners // spec.gpus_per_server
    socket = server * spec.sockets_per_server + (
        learners % spec.gpus_per_server * spec.sockets_per_server // spec.gpus_per_server
    )
    inside = server[sent.row] == server[sent.col]
    yield from zip(
        sent.row[inside].tolist(),
        sent.col[inside].tolist(),
        sent.data[inside].tolist(),
        strict=True,
    )
    sockets = int(socket.max()) + 1
    pair = socket[sent.row[~inside]].astype(np.int64) * sockets + socket[sent.col[~inside]]
    pairs, position = np.unique(pair, return_inverse=True)
    counts = np.bincount(position, weights=sent.data[~inside], minlength=len(pairs))
    first = np.full(sockets, -1)
    first[socket[::-1]] = learners[::-1]
    for code, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        yield int(first[code // sockets]), int(first[code % sockets]), count
