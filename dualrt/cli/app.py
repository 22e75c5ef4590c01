"""The commands and their options.

Owns the words of the command line; what they do is `dualrt.api`. Nothing slow is imported before a
command needs it: `dualrt --help` is to be there at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualrt import __version__
from dualrt.cli import logs
from dualrt.cli.asr import app as asr
from dualrt.cli.group import Group
from dualrt.cli.options import (
    File,
    Json,
    Local,
    Metrics,
    Out,
    Picture,
    Seed,
    Set,
    Written,
    repeatable,
)
from dualrt.cli.topology import app as topology
from dualrt.core.errors import UsageError

app = typer.Typer(
    name="dualrt",
    cls=Group,
    help="Asynchronous decentralised SGD: one learner, on a real cluster or in a simulator of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(asr)
app.add_typer(topology)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dualrt {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that come before any command."""


LogLevel = Annotated[
    logs.Level, typer.Option("--log-level", help="What of the run is told on stderr.")
]
LogFormat = Annotated[
    logs.Form,
    typer.Option("--log-format", help="Lines for people, or one JSON object a line."),
]


@app.command()
def simulate(
    file: File,
    *,
    overrides: Set,
    seed: Seed = None,
    json: Json = False,
    out: Out = None,
    picture: Picture = None,
    steady: Annotated[
        bool,
        typer.Option(
            "--steady", help="Timing only: stop once the rate is known to 0.5 %, and extrapolate."
        ),
    ] = False,
    steady_percent: Annotated[
        float | None,
        typer.Option(
            "--steady-percent", metavar="P", help="The same, to P %: half of a 95 % interval."
        ),
    ] = None,
    metrics: Metrics,
) -> None:
    """Run a scenario in the simulator."""
    from dualrt.cli import runs

    request = runs.Request(
        file=file,
        overrides=overrides,
        seed=seed,
        json=json,
        out=out,
        picture=picture,
        steady_percent=0.5 if steady and steady_percent is None else steady_percent,
        metrics=metrics,
    )
    runs.simulate(request)


@app.command(short_help="Run a scenario for real.")
def train(
    file: File,
    *,
    local: Local = None,
    overrides: Set,
    seed: Seed = None,
    json: Json = False,
    out: Out = None,
    picture: Picture = None,
    metrics: Metrics,
    log_level: LogLevel = logs.Level.WARNING,
    log_format: LogFormat = logs.Form.TEXT,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="DIR",
            help="Keep the state of all learners there now and then, and at SIGTERM.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            "--checkpoint-every", metavar="N", help="'100 steps', '30 s', '10 min' or '1 h'."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint that is whole.")
    ] = False,
    keep_order: Annotated[
        bool,
        typer.Option("--keep-order", help="With --out, keep what `dualrt replay` needs as well."),
    ] = False,
) -> None:
    """Run a scenario for real: with --local, or in each process that torchrun starts.

    On several machines: torchrun --nnodes ... --nproc-per-node ... -m dualrt train FILE
    """
    from dualrt.cli import runs

    logs.choose(log_level, log_format)
    request = runs.Request(
        file=file,
        overrides=overrides,
        seed=seed,
        json=json,
        out=out,
        picture=picture,
        metrics=metrics,
        log_level=log_level,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        keep_order=keep_order,
    )
    runs.train(request, local)


@app.command(short_help="Run a real run again, in the order that it had.")
def replay(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What train --out DIR --keep-order kept.")
    ],
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="[LEARNER:]STEP",
            help="End when that learner, or the first of any, has applied so many updates.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="FILE", help="Write the model as it is there (.safetensors)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run a real, asynchronous run again in this process, every step in the order that it had.

    It comes to the same weights, to the bit, on the same machine; else exit code 1. Of a run that
    did not end well it goes as far as the order is known.
    """
    from dualrt.cli import replays

    request = replays.Request(folder=folder, until=until, model=model, json=json)
    replays.replay(request)


@app.command(short_help="Set kept runs side by side.")
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that --out made.")
    ],
    json: Json = False,
    picture: Picture = None,
) -> None:
    """Set kept runs side by side, say a simulated one and the real one that it predicts."""
    from dualrt.cli import kept

    kept.compare(folders, json, picture)


@app.command()
def timeline(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that --out made.")],
    picture: Picture = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE.json", help="A trace for ui.perfetto.dev."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="FROM:TO", help="Seconds to draw; else a few steps."),
    ] = None,
) -> None:
    """Show what every strand of a kept run did when."""
    from dualrt.cli import kept

    kept.timeline(folder, picture, trace, window)


@app.command(short_help="Simulate every combination of values.")
def sweep(
    file: File,
    *,
    over: Annotated[
        list[str],
        typer.Option("--over", metavar="KEY=V1,V2", help="Values for a key; repeatable."),
    ],
    overrides: Set,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Simulations at a time: 2, or what a cluster has."),
    ] = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Keep one row a run (.csv or .parquet), and go on there."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the rows over the first key (.png, .svg or .pdf)."
        ),
    ] = None,
    y: Annotated[
        str | None,
        typer.Option("--y", metavar="FIGURE", help="What to draw; else the error, loss or hours."),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option("--x", metavar="FIGURE", help="Draw over this figure, not the first key."),
    ] = None,
    at_most: Annotated[
        list[str], repeatable("--max", "FIGURE=VALUE", "Only where every run has at most that")
    ],
    at_least: Annotated[
        list[str], repeatable("--min", "FIGURE=VALUE", "Only where every run has at least that")
    ],
    across: Annotated[
        list[str], repeatable("--across", "KEY", "Judge its values together, as seeds are")
    ],
    best: Annotated[
        str | None,
        typer.Option(
            "--best",
            metavar="FIGURE",
            help="What decides, the least of it, or the most accuracy or speed-up; else cost or "
            "hours.",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Where: loky (here), or a cluster of dask or ray.")
    ] = "loky",
    address: Annotated[
        str | None,
        typer.Option("--engine-address", metavar="ADDRESS", help="Where that cluster is."),
    ] = None,
) -> None:
    """Simulate a scenario for every combination of values, and print one row for each.

    With --max, --min or --best it also names the best combination that will do; if none will, it
    exits with 1.
    """
    from dualrt.cli import choices, sweeps

    for option, given in (("--x", x), ("--y", y)):
        if given is not None and plot is None:
            raise UsageError(f"{option} goes with --plot FILE")
    request = sweeps.Request(
        file=file,
        over=over,
        overrides=overrides,
        where=sweeps.Where(engine, address, jobs),
        json=json,
        out=out,
        plot=None if plot is None else sweeps.Plot(plot, x, y),
        wanted=choices.Wanted(at_most, at_least, best, across),
    )
    sweeps.sweep(request)


@app.command(short_help="Fit settings to measured figures.")
def calibrate(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A file of measured points, or a shipped one.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Fit nothing: simulate all points as the files are.")
    ] = False,
    json: Json = False,
    out: Written = None,
    picture: Picture = None,
) -> None:
    """Fit settings of scenarios to measured figures, and set both side by side."""
    from dualrt.cli import calibrations

    calibrations.calibrate(table, check, json, out, picture)


@app.command(short_help="Measure this machine, to simulate it.")
def profile(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD|FILE", help="digits, speech, module:Class ..., or a scenario."
        ),
    ],
    *,
    device: Annotated[
        str | None, typer.Option("--device", metavar="cpu|cuda", help="Where gradients are taken.")
    ] = None,
    learners: Annotated[
        int | None,
        typer.Option(
            "--learners",
            min=1,
            help="Processes that compute at once; else as many as "
            "the scenario has, but no more than two a core.",
        ),
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option("--batches", metavar="B1,B2", help="Else the scenario's, its half, quarter."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.001, help="How long each figure is measured.")
    ] = 1.0,
    record: Annotated[
        bool, typer.Option("--record", help="Write what single steps took, to be replayed.")
    ] = False,
    overrides: Set,
    seed: Seed = None,
    json: Json = False,
    out: Written = None,
) -> None:
    """Measure this machine, and describe it as a cluster that scenarios can name.

    Then: dualrt simulate FILE --set cluster.file=FILE.toml
    """
    from dualrt.cli import profile as profiling

    request = profiling.Request(
        what=what,
        device=device,
        learners=learners,
        batches=batches,
        seconds=seconds,
        record=record,
        overrides=overrides,
        seed=seed,
        json=json,
        out=out,
    )
    profiling.profile(request)


@app.command(short_help="Random faults, and what must always hold.")
def swarm(
    file: File,
    *,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=1_000_000, help="How many seeds.")
    ] = 100,
    first_seed: Annotated[
        int, typer.Option("--first-seed", min=0, max=2**62, help="The first of them.")
    ] = 1,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults",
            metavar="KIND,KIND",
            help="Of stragglers, crashes, returns, partitions, links, drop, delay, duplicate, "
            "reorder; else all that the algorithm is asked to bear.",
        ),
    ] = None,
    overrides: Set,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Simulations at a time.")
    ] = None,
    json: Json = False,
) -> None:
    """Simulate a scenario with random faults, once a seed, and check what must hold in every run.

    A failure is printed with its full options and the command that runs it again; exit code 1.
    """
    from dualrt.cli import swarms

    request = swarms.Request(
        file=file,
        seeds=seeds,
        first_seed=first_seed,
        kinds=tuple(faults.split(",")) if faults is not None else (),
        overrides=overrides,
        jobs=jobs,
        json=json,
    )
    swarms.swarm(request)


@app.command(short_help="Will a real run work on these machines?")
def doctor(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="The scenario that is to be run.")
    ] = None,
    *,
    local: Local = None,
    overrides: Set,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where the run is to keep its results."),
    ] = None,
) -> None:
    """Look at what a real run needs, and say what is wrong and what to do: exit code 1 then.

    Started as the run will be: with --local, or in each process that torchrun starts, as in
    torchrun --nnodes ... -m dualrt doctor FILE. Rank 0 has the report.
    """
    from dualrt.cli import doctor as doctoring

    request = doctoring.Request(file=file, overrides=overrides, json=json, out=out)
    doctoring.doctor(request, local)


@app.command(short_help="Make the keys of a run.")
def keys(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep them.")],
    force: Annotated[bool, typer.Option("--force", help="Replace keys that are there.")] = False,
    json: Json = False,
) -> None:
    """Make the keys with which the learners of a run encrypt their gossip, and know each other.

    The file can be read by you alone. Copy it to every host of the run, and name it in real.keys
    or DUALRT_KEYS. Who has it can take part in the run, and read its weights.
    """
    from dualrt.cli import runs

    runs.make_keys(file, force, json)


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario files."""
    import json

    from dualrt.scenario import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def scenarios(json: Json = False) -> None:
    """List the scenarios and clusters that come with dualrt."""
    from dualrt.cli import runs

    runs.list_shipped(json)
