"""Run by test_slurm.py in place of the command: `pisam` whose steps take a second as long as a file is there.

`python slow_steps.py FILE ARGUMENT ...`
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from pisam import cli
from pisam.training.stages.stage import Stage

if __name__ == "__main__":
    file, step = Path(sys.argv[1]), Stage.training_step

    def slow_step(*args: Any) -> Any:
        time.sleep(file.exists())
        return step(*args)

    Stage.training_step = slow_step  # type: ignore[method-assign]
    sys.exit(cli.main(sys.argv[2:]))
