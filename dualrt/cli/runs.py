"""What `simulate`, `train` and `scenarios` do.

Owns the way from options to results on the screen. What processes of one run have in common is in
`dualrt.cli.processes`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from dualrt import api, keeping
from dualrt.cli import processes, show, talk
from dualrt.cli.files import check_folder, check_picture
from dualrt.cli.logs import Level
from dualrt.cli.options import written
from dualrt.composition import Composition
from dualrt.core.errors import DualrtError, PreemptedError, UsageError, require
from dualrt.keeping import Wish
from dualrt.observe.metrics import Prometheus, Target, parse
from dualrt.observe.plots import run_picture
from dualrt.observe.summary import Summary
from dualrt.observe.tables import summary_table
from dualrt.observe.tally import Tally
from dualrt.observe.units import counted
from dualrt.scenario import Scenario, load, shipped
from dualrt.terms import readable

if TYPE_CHECKING:
    from dualrt.real.rendezvous import Launch

PARTING_S = 10.0
"""How long processes that were told to end may take beside the run's own timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a run."""

    file: str
    overrides: Sequence[str]
    seed: int | None
    json: bool
    out: Path | None
    picture: Path | None
    steady_percent: float | None = None
    metrics: Sequence[str] = ()
    log_level: Level = Level.WARNING
    checkpoint: Path | None = None
    checkpoint_every: str | None = None
    resume: bool = False
    keep_order: bool = False

    def scenario(self) -> Scenario:
        """The scenario as asked for."""
        steady, every = self.steady_percent, self.checkpoint_every
        first = () if steady is None else (f"simulation.steady_percent={steady}",)
        last = () if every is None else (f"real.checkpoint_every={json.dumps(every)}",)
        return load(self.file, (*first, *self.overrides, *last), self.seed)

    def wish(self) -> Wish | None:
        """The checkpoints that are asked for. Raises UsageError for what goes with them only."""
        if self.checkpoint is not None:
            return Wish(self.checkpoint, self.resume)
        given = {"--resume": self.resume, "--checkpoint-every": self.checkpoint_every}
        for option in filter(given.get, given):
            raise UsageError(f"{option} goes with --checkpoint DIR, the folder to keep them in")
        return None

    def targets(self, processes: int = 0) -> list[Target]:
        """Who is to watch the run. Raises UsageError for what cannot be.

        `processes` are those of this host that will be watched, and have not begun.
        """
        targets = [parse(one) for one in self.metrics]
        for target in targets:
            target.check(processes)
        return targets

    def check_order(self, scenario: Scenario) -> None:
        """Raise UsageError where the order of a run cannot be kept."""
        if self.keep_order:
            api.check_order(scenario, self.out, resume=self.resume)

    def arguments(self) -> list[str]:
        """The same options for another process."""
        words = [self.file, *written(self.overrides)]
        if self.seed is not None:
            words += ["--seed", str(self.seed)]
        if self.out is not None:
            words += ["--out", str(self.out.resolve())]
        if self.picture is not None:
            words += ["--picture", str(self.picture.resolve())]
        if self.checkpoint is not None:
            words += ["--checkpoint", str(self.checkpoint.resolve())]
        if self.checkpoint_every is not None:
            words += ["--checkpoint-every", self.checkpoint_every]
        if self.resume:
            words.append("--resume")
        if self.keep_order:
            words.append("--keep-order")
        for one in self.metrics:
            words += ["--metrics", one]
        # In which form is for whoever writes them.
        return [*words, "--log-level", self.log_level.value]


def simulate(request: Request) -> None:
    """Simulate, draw, print."""
    scenario, targets = request.scenario(), request.targets()
    if any(isinstance(target, Prometheus) for target in targets):
        raise UsageError(
            "--metrics prometheus: a simulation's time is not that of whoever scrapes it. Use "
            "--metrics tensorboard:DIR"
        )
    check_folder(request.out)
    check_picture(request.picture)
    # What a user's own code prints must not mix with the result.
    with (
        redirect_stdout(sys.stderr),
        show.progress(f"simulating {counted(scenario.learners, 'learner')}") as tell,
    ):
        outcome = api.simulate(scenario, out=request.out, on_progress=tell, metrics=targets)
    _warn(outcome.warnings)
    _draw(request, outcome.summary, outcome.tally)
    _print(outcome.summary, request)


def train(request: Request, local: int | None) -> None:
    """As the process that a launcher started, or as the parent of local ones."""
    require("torch", "zmq", extra="train", purpose="dualrt train")
    if local is not None:
        _train_locally(request, local)
    else:
        _train_here(request)


def _train_locally(request: Request, learners: int) -> None:
    from dualrt.real import watchdog
    from dualrt.real.launcher import Notice, Returns, run_local

    processes.refuse_local_inside()
    scenario = request.scenario()
    request.targets(learners)
    request.check_order(scenario)
    api.check_real(scenario)
    if learners != scenario.learners:
        there = counted(scenario.learners, "learner")
        show.note(f"{there} in the scenario, {learners} with --local")
        request = replace(request, overrides=(*request.overrides, f"learners={learners}"))
        scenario = request.scenario()
    check_folder(request.out)
    check_picture(request.picture)
    # What cannot be is found here, before processes start.
    composition = Composition(scenario, scenario.training.epochs, learners)
    composition.check_trainable()
    api.check_returns(scenario, composition.layout)
    wish = request.wish()
    if wish is not None:
        keeping.check(scenario, composition.layout, wish)
    _warn(composition.warnings())
    _warn(readable(scenario))
    show.note(
        f"{counted(learners, 'process', 'processes')}, "
        f"{counted(scenario.real.threads_per_learner, 'thread')} each, "
        f"on {scenario.real.interface}, {os.cpu_count()} cores"
    )
    summaries: list[Summary] = []
    preempted: list[PreemptedError] = []
    notice = Notice(threading.Event(), scenario.real.timeout_s + PARTING_S)
    with show.progress(f"training {counted(learners, 'learner')}") as tell:

        def told(said: Mapping[str, Any]) -> None:
            match said:
                case {"preempted": {"kept": kept, "why": why}}:
                    preempted.append(PreemptedError(kept, why))
                case {"summary": summary}:
                    summaries.append(Summary.from_json(json.dumps(summary)))

        hear = processes.listener(tell, told)
        planned = {
            rank: [crash.rejoin_after_s for crash in api.crashes_of(scenario, rank)]
            for rank in range(learners)
        }
        returns = Returns(scenario.real.restarts, planned)
        secrets = processes.keys_for_this_run(scenario)
        arguments = ["train", *request.arguments()]
        with ExitStack() as stack:
            if wish is not None:
                stack.enter_context(watchdog.first_asks(notice.given.set))
            try:
                run_local(arguments, learners, hear, returns, secrets, notice)
            except PreemptedError as error:
                raise (preempted or [error])[0] from None
    _print(summaries[0], request)


def make_keys(file: Path, force: bool, as_json: bool) -> None:
    """Write a new pair of keys, and say which."""
    require("zmq", "xxhash", extra="train", purpose="dualrt keys")
    from dualrt.real.keys import Keys

    made = Keys.make()
    made.write(file, force=force)
    if as_json:
        print(json.dumps({"file": str(file), "fingerprint": made.fingerprint}))
    else:
        print(f"{file}: keys that begin with {made.fingerprint}, for your eyes alone")


def _train_here(request: Request) -> None:
    with processes.one_of_them() as heard:
        _train_in_this_process(request, heard)


def _train_in_this_process(request: Request, heard: bool) -> None:
    from dualrt.real import reports
    from dualrt.real.events import Events
    from dualrt.real.rendezvous import Launch

    launch = Launch.from_environment() or Launch(rank=0, learners=1, local_rank=0, local_learners=1)
    try:
        scenario, targets = request.scenario(), request.targets()
        request.check_order(scenario)
        check_picture(request.picture)
        # Once for all processes; a parent of local ones has looked already.
        if launch.rank == 0 and not heard:
            check_folder(request.out)
            _warn(readable(scenario))
        what = f"training {counted(scenario.learners, 'learner')}"
        with processes.telling(what, launch.rank, heard) as tell:
            outcome = _train_gently(request, scenario, launch, targets, tell)
    except reports.OverError as late:
        # Those that are left have told the results.
        events = Events(launch.rank, launch.incarnation)
        events.warning("learner_left_out", str(late), learner=launch.rank)
        return
    except PreemptedError as error:
        if heard and launch.rank == 0:
            talk.say({"preempted": {"kept": error.kept, "why": error.why}})
        raise
    except DualrtError as error:
        reports.report(error, launch.rank)
        raise
    if outcome is None:
        return
    _draw(request, outcome.summary, outcome.tally)
    if heard:
        talk.say({"summary": json.loads(outcome.summary.to_json())})
    else:
        _print(outcome.summary, request)


def _train_gently(
    request: Request,
    scenario: Scenario,
    launch: Launch,
    targets: Sequence[Target],
    on_progress: api.OnProgress | None,
) -> api.Outcome | None:
    """Train; with checkpoints, a first SIGTERM asks for the last one, and a second ends all."""
    from dualrt.real import watchdog

    run = partial(
        api.train,
        scenario,
        launch,
        out=request.out,
        on_progress=on_progress,
        metrics=targets,
        keep_order=request.keep_order,
    )
    wish = request.wish()
    if wish is None:
        return run()
    with watchdog.first_asks(wish.preemption.ask):
        return run(checkpoints=wish)


def list_shipped(as_json: bool) -> None:
    """Names of shipped files, with what they show."""
    # Broken into lines by whoever shows it.
    about = {name: " ".join(load(name).about.split()) for name in shipped.names("sims")}
    clusters = list(shipped.names("topologies"))
    if as_json:
        print(json.dumps({"scenarios": about, "clusters": clusters}))
        return
    for name, says in about.items():
        show.results.print(f"[bold]{name}[/bold]")
        show.results.print(Padding(Text(says), (0, 0, 0, 2)))
    show.results.print(f"clusters: {', '.join(clusters)}", markup=False)


def _print(summary: Summary, request: Request) -> None:
    if request.json:
        print(summary.to_json())
    else:
        show.results.print(summary_table(summary))
    if request.out is not None:
        show.note(f"kept in {request.out}")


def _draw(request: Request, summary: Summary, tally: Tally) -> None:
    pictures = [request.picture] if request.picture is not None else []
    if request.out is not None:
        pictures.append(request.out / "picture.png")
    for picture in pictures:
        run_picture(picture, summary, tally)
        show.note(f"picture: {picture}")


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        show.warn(warning)
