"""Keeps the averaged weights of a ``cwic2018`` run as float16: ``python -m training.paper_master --run RUN --out DIR``.

``DIR`` is a run that another can start from: ``python -m training.paper --start DIR``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.paper import load_average

KEPT = ("step", "seconds", "config", "schedule", "ended")


def keep(run: Path, folder: Path) -> None:
    """Writes ``state.json`` and ``state.safetensors`` of the folder, which is made."""
    model, facts = load_average(run)
    tensors = {f"average.{name}": value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "state.safetensors")
    facts = {name: facts[name] for name in KEPT} | {"loss": min(facts["losses"][-1], default=None)}
    (folder / "state.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    keep(args.run, args.out)


if __name__ == "__main__":
    main()
