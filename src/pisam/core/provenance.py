"""Revision of a run's code and its environment; nothing secret, no names of hosts or people."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "segment-anything",
    "segment-anything-hq",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "wandb",
)
LONGEST_DIFF = 256 * 1024  # characters
SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "GITHUB_TOKEN")


def git_revision() -> dict[str, str]:
    """Revision of the working directory's repository, `-dirty` if changed since; empty outside of one."""
    try:
        revision = subprocess.check_output(["git", "rev-parse", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"revision": revision.strip() + ("-dirty" if changed else "")}


def git_diff(longest: int = LONGEST_DIFF) -> str:
    """Changes of the working directory's tracked files since the last commit, as text.

    Args:
        longest: characters; what is cut is counted in the last line.

    Returns:
        The diff without the values of secret environment variables; empty outside of a repository.
    """
    command = ["git", "diff", "--no-color", "--no-ext-diff", "HEAD"]
    try:
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return ""
    diff = output.decode("utf-8", errors="replace")
    for name in SECRETS:
        if secret := os.environ.get(name):
            diff = diff.replace(secret, f"<{name}>")
    if len(diff) > longest:
        diff = f"{diff[:longest]}\n[cut: {len(diff) - longest} of {len(diff)} characters]\n"
    return diff


def environment() -> dict[str, Any]:
    """Versions and size of this machine, in plain values."""
    installed = {name.lower() for name in (d.metadata["Name"] for d in metadata.distributions()) if name}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in PACKAGES if name in installed},
    }
