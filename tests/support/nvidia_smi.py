"""A program that lists GPUs as nvidia-smi does, for machines without any."""

from pathlib import Path

H100 = "NVIDIA H100 80GB HBM3"


def listing(gpus: dict[str, list[str]]) -> str:
    """Return the output of `nvidia-smi -L` for UUIDs of GPUs, each with those of its MIG instances."""
    lines: list[str] = []
    for index, (uuid, instances) in enumerate(gpus.items()):
        lines.append(f"GPU {index}: {H100} (UUID: {uuid})")
        lines += [
            f"  MIG 1g.10gb     Device  {number}: (UUID: {instance})"
            for number, instance in enumerate(instances)
        ]
    return "\n".join(lines) + "\n"


def install(folder: Path, gpus: dict[str, list[str]]) -> None:
    """Write the program; `folder` belongs at the front of PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    (folder / "gpus.txt").write_text(listing(gpus))
    program.write_text(f'#!/bin/sh\n[ "$*" = -L ] && exec cat "{folder}/gpus.txt"\nexit 2\n')
    program.chmod(0o755)
