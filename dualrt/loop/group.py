"""Group: what `join` gives to a training loop.

Owns the user's side: when parameters, optimizer and schedulers are touched, and that nothing is
called out of turn. Must not know how averaging is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, final, get_args

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dualrt import keeping
from dualrt.algorithms.ssgd import SSGD
from dualrt.api import check_reachable
from dualrt.composition import Ensemble
from dualrt.core.errors import UsageError
from dualrt.core.learner import Layout
from dualrt.loop import course
from dualrt.loop.belongings import Belongings, Stateful
from dualrt.loop.company import Alone, Company, Others, refuse
from dualrt.loop.leftovers import Buffers, Leftovers
from dualrt.loop.logbook import Logbook
from dualrt.loop.parameters import FlatParameters
from dualrt.loop.preemption import asked_by_sigterm
from dualrt.loop.solo import Kept
from dualrt.loop.workload import OwnLoop
from dualrt.observe.metrics import parse
from dualrt.observe.remarks import remarks
from dualrt.observe.summary import Summary, summarise
from dualrt.parting import Whole, hashed, imbalance
from dualrt.real.events import Events
from dualrt.real.rendezvous import Launch
from dualrt.scenario import Scenario

_meetings = count()
"""How often the processes of this launch have met: all of them join the same groups in turn."""


def join(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    algorithm: str = "adpsgd",
    topology: str = "ring",
    mixing: str = "pairwise",
    batch: int | None = None,
    samples_per_epoch: int | None = None,
    epochs: float | None = None,
    buffers: Buffers = "mean",
    seed: int = 1,
    timeout_s: float = 600.0,
    interface: str = "127.0.0.1",
    ports: str = "",
    curve: str = "auto",
    keys: str | Path = "",
    shared_memory: bool = True,
    wire: str = "full",
    wire_fraction: float | None = None,
    audit: bool = False,
    out: str | Path | None = None,
    metrics: str | Sequence[str] = (),
    checkpoint: str | Path | None = None,
    checkpoint_every: str | None = None,
    checkpoints_kept: int | None = None,
    resume: bool = False,
    keep: Mapping[str, Stateful] = MappingProxyType({}),
    **settings: Any,
) -> Group:
    """Average a model with those of the other processes, inside a loop of one's own.

        with dualrt.join(model, optimizer, algorithm="adpsgd", topology="ring") as group:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss_of(model(inputs), targets).backward()
                optimizer.step()
                group.step()

    Started by torchrun, or by whatever sets its variables, one process is one learner; started
    plainly there is one learner, nothing is averaged, and the loop does what it does without us.

    Inside the `with`, the parameters that require a gradient are views into one flat buffer, and
    everything begins as on rank 0. Between two calls of `group.step()` the loop may do what it
    likes to them: any optimizer, clipping, accumulation, autocast. Meanwhile the learner averages
    with others, on copies; `group.step()` brings both together. Leaving the `with` waits for all
    others, and leaves the mean of all learners' models in every process.

    Parameters
    - `algorithm`, with its own `settings` as further keywords, `topology` and `mixing`: those of a
      scenario. `ssgd` averages the gradients when `optimizer.step()` is called; all others average
      weights.
    - `batch` and `samples_per_epoch`: the samples of one step of one learner, and of all data.
      With both there is `group.epoch`.
    - `epochs`: where the run ends, for all learners together: then `group.finished`, and the loop
      should be left. Without it each loop ends by itself, and should do so within `timeout_s` of
      the others.
    - `buffers`: see `dualrt.loop.leftovers.Buffers`.
    - `seed`, `timeout_s`, `interface`, `ports`, `curve`, `keys`, `shared_memory`, `wire`,
      `wire_fraction`, `audit`: those of a scenario. What a loop does between two steps counts as
      waiting for those who wait for it, evaluation too.
    - `out`: a folder for records and results, as `dualrt train --out` keeps them.
    - `metrics`: "tensorboard:DIR" or "prometheus:HOST:PORT", or several, as `--metrics`.
    - `checkpoint`: a folder, the same for all processes, in which the state of all of them is kept
      every so often (`checkpoint_every`: "100 steps", "30 s", "10 min"), and the newest
      `checkpoints_kept` stay. With `resume` the run goes on from the newest that can be used. In it
      are the learner's state and, of each process, the optimizer, followed schedulers, buffers,
      `group.steps`, and `keep`: further objects with `state_dict` and `load_state_dict`, by names.
      Inside the `with`, a first SIGTERM to any of the processes asks for a last one: once it is
      there, the next `group.step()` raises `PreemptedError` in all of them, which ends a script
      that does not catch it with exit code 143. A second does what it did before.

    Raises UsageError for what cannot be; when it is entered also for a folder that is refused and
    for models that differ, in all processes; then RunError if another process is not there.
    """
    launch = Launch.from_environment() or Launch(rank=0, learners=1, local_rank=0, local_learners=1)
    if buffers not in get_args(Buffers):
        raise UsageError(
            f"{course.SOURCE}: buffers = {buffers!r}; give one of {', '.join(get_args(Buffers))}"
        )
    pool = course.Pool(batch, samples_per_epoch, epochs)
    scenario = course.scenario(
        launch.learners,
        pool,
        algorithm=algorithm,
        topology=topology,
        mixing=mixing,
        settings=settings,
        seed=seed,
        audit=audit,
        timeout_s=timeout_s,
        interface=interface,
        ports=ports,
        curve=curve,
        keys=str(keys),
        shared_memory=shared_memory,
        wire=wire,
        wire_fraction=wire_fraction,
        checkpoint_every=checkpoint_every,
        checkpoints_kept=checkpoints_kept,
    )
    check_reachable(scenario, launch)
    course.check_algorithm(scenario)
    ensemble = None
    if launch.learners > 1:
        ensemble = Ensemble(scenario, launch.learners_per_node)
    else:
        course.check_ensemble(scenario)
    kept = _kept(scenario, ensemble, checkpoint, resume=resume)
    belongings = Belongings(model, optimizer, keep)
    targets = [parse(one) for one in ([metrics] if isinstance(metrics, str) else metrics)]
    for target in targets:
        target.check()
    folder = None if out is None else Path(out)
    records = partial(Logbook, launch, algorithm, folder, targets)
    return Group(
        model, optimizer, launch, scenario, ensemble, pool, buffers, records, belongings, kept
    )


def _kept(
    scenario: Scenario,
    ensemble: Ensemble | None,
    folder: str | Path | None,
    *,
    resume: bool,
) -> Kept | None:
    """The wish for checkpoints. Raises UsageError for one that cannot be, whatever the folder."""
    if folder is None:
        if resume:
            raise UsageError(
                f"{course.SOURCE}: resume = True, and no checkpoint. Name the folder of the "
                "earlier run"
            )
        return None
    wish = keeping.Wish(Path(folder), resume, where="checkpoint", how="resume=True")
    if ensemble is not None:
        keeping.check_pause(scenario, ensemble.layout, wish)
    return Kept(scenario, wish)


@final
class Group:
    """The processes that train together, as one of their loops sees them. Made by `join`.

    To be entered once; all else is for inside the `with`, but `summary`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        launch: Launch,
        scenario: Scenario,
        ensemble: Ensemble | None,
        pool: course.Pool,
        buffers: Buffers,
        records: Callable[[], Logbook],
        belongings: Belongings,
        kept: Kept | None,
    ) -> None:
        self.rank, self.learners = launch.rank, launch.learners
        self.summary: Summary | None = None
        """The figures of the run, at rank 0, once the `with` was left in good order."""
        self._model, self._optimizer, self._launch = model, optimizer, launch
        self._scenario, self._ensemble, self._pool = scenario, ensemble, pool
        self._buffers, self._records = buffers, records
        self._belongings, self._kept = belongings, kept
        self._gives_gradients = ensemble is not None and issubclass(ensemble.algorithm, SSGD)
        self._schedulers: list[tuple[LRScheduler, int]] = []
        self._going = False
        """Whether the loop has a step to make."""
        self._stepping = False
        """Whether the optimizer has a mean gradient, which `step` was not told of yet."""

    def __enter__(self) -> Self:
        self._began_s = time.perf_counter()
        with ExitStack() as stack:
            try:
                self._prepare(stack)
            except UsageError as error:
                if self._ensemble is not None:
                    refuse(self._launch, self._ensemble, next(_meetings), error)
                raise
            self._company = self._gathered()
            if self._kept is not None:
                # Not before: until all have met there is nothing to keep.
                stack.enter_context(asked_by_sigterm(self._company.preempt))
            if self._gives_gradients:
                hook = self._optimizer.register_step_pre_hook(self._before_step)
                stack.callback(hook.remove)
            self._resources = stack.pop_all()
        self._going = self._company.going
        return self

    def _prepare(self, stack: ExitStack) -> None:
        """All that can be refused before the processes have met."""
        if self._kept is not None and self._launch.rank == 0 and not self._launch.incarnation:
            keeping.check_folder(self._scenario, self._kept.wish)
        self._parameters = FlatParameters(self._model)
        stack.callback(self._parameters.release)
        self._parameters.require(
            [tensor for group in self._optimizer.param_groups for tensor in group["params"]]
        )
        self._loop = OwnLoop(
            self._parameters,
            learners=self.learners,
            batch=self._pool.samples_per_step,
            samples_per_epoch=self._pool.samples,
            gradients=self._gives_gradients,
            audit=self._scenario.training.audit,
            belongings=self._belongings,
        )
        batches = 1 if self._ensemble is None else self._ensemble.layout.batches_per_update
        self._progress = course.progress(self._pool, batches, lambda: self._loop.left)
        self._logbook = stack.enter_context(self._records())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._resources:
            if kind is not None:
                self._going = False
                self._company.fail(f"{kind.__name__}: {error}")
                return
            if self._stepping:
                self.step()
            self._going = False
            whole = self._company.leave()
            if whole is not None:
                self.summary = self._summed_up(whole)
                self._logbook.keep(self.summary, whole.tally)
                for remark in remarks(whole.tally, faults=whole.crashes > 0):
                    Events(self.rank).warning("remark", remark)

    @property
    def updates(self) -> int:
        """Updates by all learners together, as far as this process knows."""
        return self._company.updates

    @property
    def steps(self) -> int:
        """Steps that this process's loop has made, those before a checkpoint included."""
        return self._belongings.steps

    @property
    def epoch(self) -> float:
        """Passes over the data by all learners together, as far as this process knows.

        Raises UsageError if `join` was not told what an epoch is.
        """
        if not self._pool.counted:
            raise UsageError("group.epoch: give join() batch and samples_per_epoch")
        return self._progress.epoch(self.updates)

    @property
    def finished(self) -> bool:
        """Whether the agreed end has been reached, so that the loop has nothing more to do."""
        return not self._going

    @property
    def staleness(self) -> int | None:
        """Of this process's last update: the most versions of any learner that it had not seen.

        None before the first, and for followers in a super-learner, who apply none.
        """
        return self._logbook.staleness

    def step(self, loss: float | Tensor | None = None) -> None:
        """Average; to be called after each `optimizer.step()`, and where that was skipped.

        The parameters change. `loss` is for the records only. Raises UsageError if the run is over
        or the parameters are no longer where they were, RunError if another process failed.
        """
        self._require_turn()
        self._parameters.check()
        if self._gives_gradients and not self._stepping:
            self._step_with_others()
        rate = float(self._optimizer.param_groups[0].get("lr", 0.0))
        self._logbook.tell(loss.item() if isinstance(loss, Tensor) else loss, rate)
        self._stepping = False
        self._belongings.steps += 1
        self._going = self._company.step()
        self._schedule()

    def follow(self, scheduler: LRScheduler, steps_per_epoch: int = 1) -> None:
        """Step a scheduler so often in each epoch, as the epoch goes on, instead of the loop.

        So a fast learner's rate does not run ahead of a slow one's. It is never stepped more often
        than in all `epochs`, if these are agreed: OneCycleLR's `total_steps` are then
        `epochs * steps_per_epoch`. Raises UsageError for a scheduler that follows anything but a
        count, for less than one step, and if `join` was not told what an epoch is.
        """
        if steps_per_epoch < 1:
            raise UsageError(f"group.follow: steps_per_epoch = {steps_per_epoch!r}; give 1 or more")
        if isinstance(scheduler, ReduceLROnPlateau):
            raise UsageError(
                "group.follow: ReduceLROnPlateau follows a figure, and not the epoch; step it "
                "yourself"
            )
        self._belongings.follow(scheduler)
        self._schedulers.append((scheduler, steps_per_epoch))
        self._schedule()

    def _schedule(self) -> None:
        for scheduler, steps_per_epoch in self._schedulers:
            # Whoever was under way when the end came has gone beyond it.
            epoch = min(self.epoch, self._pool.epochs or self.epoch)
            while scheduler.last_epoch < int(epoch * steps_per_epoch):
                scheduler.step()

    def _require_turn(self) -> None:
        if not self._going:
            raise UsageError(
                "the run is over, and there is nothing more to average. Leave the loop when "
                "group.finished is true"
            )

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Ahead of every `optimizer.step()`: give it the mean gradient."""
        self._require_turn()
        if self._stepping:
            raise UsageError("optimizer.step() twice: call group.step() after each")
        # The optimizer itself is the first argument, as of any method.
        if any(argument is not None for argument in (*args[1:], *kwargs.values())):
            raise UsageError(
                "ssgd averages gradients before optimizer.step(), and a closure computes them "
                "inside. Compute them before, or choose an algorithm that averages weights"
            )
        if getattr(optimizer, "found_inf", None) is not None:
            raise UsageError(
                "ssgd averages gradients before optimizer.step(), and a fused optimizer is given "
                "them scaled by GradScaler. Make the optimizer with fused=False, or choose an "
                "algorithm that averages weights"
            )
        mean = self._company.mean_gradient(self._parameters.gradient())
        self._parameters.set_gradient(mean)
        self._stepping = True

    def _step_with_others(self) -> None:
        """Our gradient was not fit for a step; the others' mean is, in which ours counts as 0."""
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.step()

    def _gathered(self) -> Company:
        if self._ensemble is None:
            return Alone(
                self._parameters, self._logbook, self._progress, self._belongings, self._kept
            )
        return Others(
            self._launch,
            self._ensemble,
            self._loop,
            self._parameters,
            Leftovers(self._model),
            self._buffers,
            self._logbook,
            self._progress,
            next(_meetings),
            self._kept,
        )

    def _summed_up(self, whole: Whole) -> Summary:
        vectors = [final.weights for final in whole.finals]
        _, distance = self._loop.consensus(vectors)
        pool, ensemble = self._pool, self._ensemble
        layout = Layout(replicas=(0,)) if ensemble is None else ensemble.layout
        return summarise(
            whole.tally,
            title=self._scenario.title,
            mode="real",
            algorithm=self._scenario.algorithm.name,
            batch=pool.samples_per_step,
            samples_per_epoch=pool.samples,
            epochs_total=pool.epochs or whole.tally.samples / pool.samples,
            wall_s=time.perf_counter() - self._began_s,
            consensus_distance=distance,
            conservation_error=imbalance(self._loop, whole.finals, layout),
            timing_digest=whole.timing_digest,
            numerics_digest=hashed(self._loop.digest(vector) for vector in vectors),
        )
