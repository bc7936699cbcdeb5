"""Simulated users: clicks on the errors of a mask, for training, evaluation and benchmarks."""

from __future__ import annotations

from pisam.clicks.inspection import ErrorComponent as ErrorComponent
from pisam.clicks.inspection import inspect_errors as inspect_errors
from pisam.clicks.simulate import simulate_clicks as simulate_clicks
