"""The small shipped scenario, as it is and with the mistakes of `broken` in it."""

from __future__ import annotations

from pathlib import Path

from dualrt.scenario import load


def broken(folder: Path, *, algorithm: str = "adpsgd", workload: str = "quadratic") -> Path:
    """A scenario file in `folder`, and the module that it names beside it."""
    names = {"algorithm": algorithm, "workload": workload}
    own = {key: name[0].isupper() for key, name in names.items()}
    overrides = [f'{key}.name="{name}"' for key, name in names.items() if not own[key]]
    text = load("swarm-small", overrides).to_toml()
    for key, name in names.items():
        if own[key]:
            usual = load("swarm-small").effective()[key]["name"]
            text = text.replace(f'name = "{usual}"', f'name = "broken:{name}"')
    module = Path(__file__).with_name("broken.py")
    (folder / "broken.py").write_text(module.read_text())
    file = folder / "broken.toml"
    file.write_text(text)
    return file
