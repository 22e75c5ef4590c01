"""What is being learned: model, data, loss and cost behind `dualrt.core.workload.Workload`.

Owns the names under which a scenario finds a workload. Must not import any of them: most need
torch, and a timing-only simulation runs without it.

Every workload is constructed by keyword: `seed`, `learners` and `batch`, which the run sets, and
then its own settings, each with a default. A class of the user's own that keeps to this is named
`module:Class` in the scenario and needs no registration.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from dualrt.core.errors import MissingExtraError, UsageError
from dualrt.core.workload import Workload

SHIPPED = {
    "phantom": "dualrt.workloads.phantom:Phantom",
    "acoustic-phantom": "dualrt.workloads.phantom:AcousticPhantom",
    "quadratic": "dualrt.workloads.quadratic:Quadratic",
    "digits": "dualrt.workloads.digits:Digits",
    "speech": "dualrt.workloads.speech:Speech",
}
"""Where the workloads that come with dualrt live, by the name that scenarios use."""


def workload_class(name: str) -> type[Workload[Any]]:
    """The class of a shipped workload, or the one that `module:Class` names.

    Raises:
        UsageError: there is no such workload, module or class.
        MissingExtraError: the workload needs torch, which is not installed.
    """
    module_name, _, class_name = SHIPPED.get(name, name).partition(":")
    if not module_name or not class_name:
        raise UsageError(
            f"There is no workload {name!r}.{_nearest(name, SHIPPED)} Shipped are "
            f"{', '.join(SHIPPED)}; name one of your own as 'module:Class'."
        )
    module = _module(module_name, name)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UsageError(
            f"workload {name!r}: the module {module_name!r} has no class {class_name!r}."
            f"{_nearest(class_name, classes)} Write the workload as 'module:Class'."
        )
    return found


def _module(module_name: str, workload: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == "torch":
            raise MissingExtraError("torch", "train", f"The workload {workload!r}") from error
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise UsageError(
                f"workload {workload!r}: there is no module {missing!r} on the import path. "
                "Check the spelling, or add the folder that holds it to PYTHONPATH."
            ) from error
        raise UsageError(
            f"workload {workload!r}: its module {module_name!r} imports {missing!r}, which is not "
            f"installed. Install the package that provides {missing!r}."
        ) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
