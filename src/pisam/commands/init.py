"""Make a folder to work in, with the experiments, sweeps and cluster scripts that come with the package.

    pisam init DIR

Nothing is overwritten: a file that is there stays as it is, and is named.

group: Set up
"""

from __future__ import annotations

import shlex

from pisam.commands.shared.command import Arguments
from pisam.core.errors import PisamError
from pisam.core.files import local_path, replacing, shipped

PATTERNS = ("README.md", "*.yaml", "sweeps/*.yaml", "slurm/*")


def run(arguments: Arguments) -> None:
    """Copy what is missing in the folder, and print what to do next."""
    folder, source = local_path(arguments.words[0], "init"), shipped("experiments")
    files = sorted(file for pattern in PATTERNS for file in source.glob(pattern))
    if not files:
        raise PisamError(f"init: {source} holds no experiments; install the package again")
    kept = []
    for file in files:
        target = folder / "experiments" / file.relative_to(source)
        if target.exists() or target.is_symlink():
            kept.append(str(target))
            continue
        with replacing(target) as temporary:
            temporary.write_bytes(file.read_bytes())
            temporary.chmod(file.stat().st_mode & 0o777)
    if kept:
        print(f"kept as they are: {', '.join(kept)}")
    print(f"{len(files) - len(kept)} files in {folder / 'experiments'}; next:")
    print(f"  cd {shlex.quote(str(folder))}\n  pisam train quickstart stage=1")
