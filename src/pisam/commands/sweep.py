"""Try combinations of values: with the server and agents of W&B, or with local=true without.

    pisam sweep FILE [local=true|false] [count=N] [agents=N] [draw_seed=N] [experiment=EXPERIMENT]
                [key=value ...]

FILE: a name in experiments/sweeps/, or the path of a W&B sweep file.
key=value: for all trials, for example stage1.max_steps=20.

group: Train
local=true|false: trials one after the other on this machine, without a server (default: false)
count=N: of trials, of each agent or in all
agents=N: how many at the same time, 0 to start none (default: 1)
draw_seed=N: of the random values of local=true
experiment=EXPERIMENT: in place of the one that the file names
"""

from __future__ import annotations

from pisam.commands.shared.command import Arguments
from pisam.commands.shared.sweep_file import read_sweep
from pisam.commands.shared.sweep_runs import register, run_agents, run_locally


def run(arguments: Arguments) -> int:
    """Run the trials, or register the sweep and start agents."""
    own = arguments.own
    count = arguments.number("count", 1) if "count" in own else None
    chosen = read_sweep(arguments.words[0], arguments.overrides, own.get("experiment"))
    if own.get("local") == "true":
        return run_locally(chosen, count=count, seed=int(own.get("draw_seed", "0")))
    path = register(chosen)
    print(f"sweep {path}\nanother agent: python -m wandb agent --forward-signals {path}", flush=True)
    return run_agents(path, agents=int(own.get("agents") or 1), count=count)
