"""The network of a configuration."""

from __future__ import annotations

from pathlib import Path

from helpers.small_runs import small_config
from pisam.training import assemble as build


def test_network_is_a_function_of_the_seed(tmp_path: Path) -> None:
    states = [
        build.build_network(small_config(tmp_path, tmp_path, f"seed={seed}")).own_state()
        for seed in (0, 0, 1)
    ]
    same, other = ([states[0][name].equal(state[name]) for name in states[0]] for state in states[1:])
    assert all(same) and not all(other)
