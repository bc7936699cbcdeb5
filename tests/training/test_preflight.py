"""What is checked is said before it is begun, and how long it took after."""

from __future__ import annotations

import logging

import pytest

from pisam.training.preflight import checking


def test_said_before_and_after(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pisam")
    with checking("network: loading") as found:
        assert caplog.messages == ["network: loading ..."], "also where it then hangs"
        found.append("nano")
    said = caplog.messages[1].partition(": nano, ")
    assert said[0] == "network: loading" and said[2].endswith(" s")


def test_an_error_is_left_to_speak_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pisam")
    with pytest.raises(OSError), checking("data: looking"):
        raise OSError
    assert caplog.messages == ["data: looking ..."]
