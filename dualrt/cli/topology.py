"""`dualrt topology`: choose, prove and draw a communication graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualrt.cli.options import Json, Picture

app = typer.Typer(
    name="topology",
    help="Communication graphs: check one, compare some, draw one.",
    no_args_is_help=True,
)

Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="ring:16, torus:4x4, hierarchical:8x8/ring, a file, module:function ...",
    ),
]
ClusterFile = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="FILE", help="A cluster description, or the name of a shipped one."
    ),
]
Mixing = Annotated[
    str | None,
    typer.Option(
        "--mixing",
        metavar="NAME",
        help="metropolis (if left out), max-degree, uniform, fastest, fdla, matrix:FILE, "
        "pairwise, random-ring or random-pairs.",
    ),
]
ModelBytes = Annotated[
    int | None,
    typer.Option("--bytes", min=1, help="Size of the model; left out: the papers' 172.6 MB."),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Samples of a mini-batch.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of random schedules.")]


@app.callback()
def group() -> None:
    """Communication graphs: check one, compare some, draw one."""


@app.command()
def check(
    spec: Spec,
    cluster: ClusterFile = None,
    mixing: Mixing = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="delta, or the papers' lock, which can deadlock.")
    ] = "delta",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Most rounds to consensus that pass.")
    ] = 10_000,
    model_bytes: ModelBytes = None,
    batch: Batch = 128,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Will this graph mix fast, not deadlock, and fit my links? Exits with 1 if it does not."""
    from dualrt.cli import topologies

    asked = topologies.Asked(cluster, mixing, model_bytes, batch, seed)
    topologies.check(spec, asked, protocol, rounds, json)


@app.command()
def compare(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="As of check.")],
    cluster: ClusterFile = None,
    mixing: Mixing = None,
    model_bytes: ModelBytes = None,
    batch: Batch = 128,
    seed: Seed = 0,
    picture: Picture = None,
    json: Json = False,
) -> None:
    """Let each graph agree in the simulator: error by rounds, and by seconds on the cluster."""
    from dualrt.cli import topologies

    asked = topologies.Asked(cluster, mixing, model_bytes, batch, seed)
    topologies.compare(specs, asked, picture, json)


@app.command()
def draw(
    spec: Spec,
    picture: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Where to draw (.svg, .png, .pdf or .html)."),
    ],
    cluster: ClusterFile = None,
    mixing: Mixing = None,
    model_bytes: ModelBytes = None,
    batch: Batch = 128,
    seed: Seed = 0,
) -> None:
    """Draw the graph over the cluster, with links coloured by load."""
    from dualrt.cli import topologies

    asked = topologies.Asked(cluster, mixing, model_bytes, batch, seed)
    topologies.draw(spec, asked, picture)
