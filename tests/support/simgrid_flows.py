"""When flows end according to SimGrid: fabrics as JSON on standard input, ends on standard output.

Run by the interpreter that has SimGrid's binding, which need not be that of the tests; so it
imports nothing of ours. All fabrics are parts of one platform, and share no link. One actor a
fabric starts its flows and waits for them: SimGrid notes each end itself.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from simgrid import Actor, Comm, Engine, Host, LinkInRoute, NetZone, this_actor

SETTINGS = (
    "network/model:CM02",
    "network/crosstraffic:0",
    "network/TCP-gamma:0",
    # By default two ends within a nanosecond are one.
    "surf/precision:1e-15",
    "maxmin/precision:1e-15",
)


def build(zone: NetZone, number: int, fabric: dict[str, Any]) -> list[Host]:
    """Lay the links and routes of one fabric; its hosts."""
    links = []
    for index, capacity in enumerate(fabric["links_bytes_per_s"]):
        link = zone.create_link(f"link {number}.{index}", capacity)
        links.append(LinkInRoute(link.set_latency(0).seal()))
    hosts = [zone.create_host(f"host {number}.{one}", 1e9) for one in range(fabric["hosts"])]
    routes = {(source, target): route for _, source, target, _, route in fabric["flows"]}
    for (source, target), route in routes.items():
        ends = hosts[source].netpoint, hosts[target].netpoint
        zone.add_route(*ends, None, None, [links[index] for index in route], False)
    return hosts


def drive(hosts: list[Host], flows: list[list[Any]], ends_s: list[float]) -> None:
    """The actor of one fabric."""
    under_way = []
    for start_s, source, target, size_bytes, _ in flows:
        this_actor.sleep_until(start_s)
        under_way.append(Comm.sendto_async(hosts[source], hosts[target], size_bytes))
    for comm in under_way:
        comm.wait()
    ends_s += [comm.finish_time for comm in under_way]


def main() -> None:
    """Simulate everything at once."""
    engine = Engine([sys.argv[0], *(f"--cfg={setting}" for setting in SETTINGS)])
    fabrics = json.load(sys.stdin)
    zone = NetZone.create_full_zone("all")
    ends_s: list[list[float]] = [[] for _ in fabrics]
    cast = [build(zone, number, fabric) for number, fabric in enumerate(fabrics)]
    zone.seal()
    for hosts, fabric, ends in zip(cast, fabrics, ends_s, strict=True):
        Actor.create("starter", hosts[0], drive, hosts, fabric["flows"], ends)
    engine.run()
    json.dump(ends_s, sys.stdout)


if __name__ == "__main__":
    main()
