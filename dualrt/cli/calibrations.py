"""What `calibrate` does on the screen: the fitted values, and measured beside simulated figures.

Owns the form of the tables and of the JSON. What a calibration is, `dualrt.calibrate` knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dualrt.calibrate import Calibration, Estimate, Residual, check, fit, read_table
from dualrt.calibrate.drawing import draw
from dualrt.cli import show
from dualrt.cli.files import check_file, check_picture
from dualrt.core.errors import UsageError
from dualrt.observe import units

UNITS = {
    "seconds_per_iteration": "s an iteration",
    "hours_per_epoch": "h an epoch",
    "hours_total": "h in all",
}


def calibrate(
    file: str, only_check: bool, as_json: bool, out: Path | None, picture: Path | None
) -> None:
    """Fit, or only set side by side; print, and keep the calibration's file."""
    if only_check and out is not None:
        raise UsageError(f"--out {out}: --check fits nothing to keep. Leave one of the two out")
    table = read_table(file)
    check_file(out)
    if out is not None and out.resolve() == table.file.resolve():
        raise UsageError(f"--out {out} is the table itself. Name another file")
    check_picture(picture)
    if only_check:
        with show.progress("simulating every point") as tell:
            found = check(table, tell)
    else:
        with show.search("fitting") as say:
            found = fit(table, lambda runs, norm: say(f"{runs} simulations, |r| = {norm:.4f}"))
    if as_json:
        print(json.dumps(found.plain()))
    else:
        _print(found)
    if out is not None:
        out.write_text(found.to_toml())
        show.note(f"kept in {out}")
    if picture is not None:
        draw(picture, found)
        show.note(f"picture: {picture}")


def _print(found: Calibration) -> None:
    if found.estimates:
        show.results.print(_estimates(found.estimates))
    title = "fitted to" if found.estimates else "calibration set, as the files are"
    show.results.print(_residuals(title, found.residuals))
    if found.predictions:
        show.results.print(_residuals("predicted", found.predictions))
    freedom = (
        f"{len(found.residuals)} points less {len(found.estimates)} parameters: "
        f"{found.degrees_of_freedom} degrees of freedom; "
        if found.estimates
        else ""
    )
    show.results.print(
        f"{freedom}rms error {units.percent(found.rms_error)}, worst "
        f"{_signed(found.worst.error)} at {found.worst.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _estimates(estimates: Sequence[Estimate]) -> Table:
    table = Table(title="parameters", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("parameter", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("± (1 s.e.)", justify="right", no_wrap=True)
    table.add_column("determined by", overflow="fold")
    for one in estimates:
        by = [f"{name} ({change:+.2f})" for name, change in one.determined_by.items()]
        table.add_row(
            Text(f"{one.name}\n{one.key}"),
            f"{one.value:.4g}",
            units.percent(one.standard_error),
            Text("; ".join(filter(None, [one.remark, ", ".join(by)]))),
        )
    return table


def _residuals(title: str, residuals: Sequence[Residual]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("point", overflow="fold")
    for heading in ("measured", "simulated"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("error", justify="right", no_wrap=True)
    for one in residuals:
        table.add_row(
            Text(one.name),
            units.significant(one.measured),
            units.significant(one.simulated),
            UNITS[one.figure],
            _signed(one.error),
        )
    return table


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"
