"""What the command line says of a protocol counts as it was said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pisam.commands.benchmark import protocol_of
from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.record import ClickProtocol

HUMAN = ClickProtocol(user="human")


@pytest.mark.parametrize("before", [5, 5.0])
def test_a_number_is_what_was_said_whatever_the_file_had(before: float) -> None:
    like = replace(HUMAN, jitter=before)
    assert protocol_of({"jitter": "2.5"}, like).jitter == 2.5
    assert protocol_of({"jitter": "3"}, like).hash == replace(HUMAN, jitter=3.0).hash
    assert protocol_of({"jitter": "5", "clicks": "20"}, like).hash == like.hash


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"jitter": "1e999"}, "jitter=1e999: expected a number"),
        ({"clicks": "2.5"}, "clicks: expected a whole number"),
        ({"seed": "1e300"}, "seed: expected a whole number"),
    ],
)
@pytest.mark.parametrize("before", [5, 5.0])
def test_what_is_no_number_of_a_protocol_is_refused(
    said: dict[str, str], expected: str, before: float
) -> None:
    with pytest.raises(PisamError, match=expected):
        protocol_of(said, replace(HUMAN, jitter=before))
