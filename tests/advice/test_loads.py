"""Bytes on links, against every route walked one by one."""

from __future__ import annotations

import pytest

from dualrt.advice.loads import BLENDED, loads, traffic
from dualrt.advice.setting import links_of, setting
from dualrt.topology import specs


@pytest.mark.parametrize("cluster", ["x-8x8-v100", "p9-v100", "leaf-spine-10g"])
@pytest.mark.parametrize("spec", ["exponential:24", "torus:4x5", "one-peer-exponential:16"])
def test_loads_are_the_sums_over_all_routes(cluster: str, spec: str) -> None:
    schedule = specs.read(spec).schedule
    where = setting(schedule.learners, cluster, model_bytes=1000)
    messages = traffic(schedule).toarray()
    links = links_of(where.cluster)
    expected: dict[str, float] = {}
    for sender in range(schedule.learners):
        for receiver in range(schedule.learners):
            count = messages[sender, receiver]
            for link in links.message_route(sender, receiver) if count else ():
                expected[link.name] = expected.get(link.name, 0) + 1000 * count
            for link in links.host_route(receiver) if count else ():
                expected[link.name] = expected.get(link.name, 0) + 1000 * count * BLENDED
    found = {load.link: load.bytes_per_step for load in loads(traffic(schedule), where)}
    assert found == pytest.approx(expected)


def test_an_exchange_is_a_message_each_way_and_a_push_is_one() -> None:
    assert traffic(specs.read("ring:4").schedule).sum() == 8
    assert traffic(specs.read("alternating-ring:4").schedule).sum() == pytest.approx(4)
    assert traffic(specs.read("one-peer-exponential:4").schedule).sum() == pytest.approx(4)


def test_links_are_listed_by_how_long_they_are_busy() -> None:
    where = setting(16, "x-8x8-v100", model_bytes=10**9)
    found = loads(traffic(specs.read("exponential:16").schedule), where)
    assert [load.busy_s for load in found] == sorted((load.busy_s for load in found), reverse=True)
    capacity = links_of(where.cluster).links[found[0].link].capacity_bytes_per_s
    assert found[0].busy_s == pytest.approx(found[0].bytes_per_step / capacity)


def test_a_graph_that_is_numbered_by_racks_loads_the_spine_less() -> None:
    carried = {}
    for spec in ("random-regular:192x4", "cluster-aware:4x48/random-regular:192x4"):
        where = setting(192, "leaf-spine-10g", model_bytes=1000)
        found = loads(traffic(specs.read(spec).schedule), where)
        carried[spec] = sum(load.bytes_per_step for load in found if load.link.startswith("rack"))
    plain, aware = carried.values()
    assert 0 < aware < 0.7 * plain
