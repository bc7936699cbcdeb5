"""`pisam serve` and `pisam demo`: what cannot be is refused by name before anything is read."""

from __future__ import annotations

import pytest

from pisam import cli
from pisam.commands import serve
from pisam.serve import listen
from pisam.serve.app import Settings

WRONG = (
    "port=65536",
    "port=99999",
    "token=\N{SNOWMAN}",
    "token=caf\xe9",
    "token=a\nb",
    "token= a",
    "label_studio_key=a\r\nb",
    "cors=*",
    "cors=tools.example",
    "cors=https://tools.example/page",
    "cors=https://a.example,https://b.example",
    "cors=null",
    "label_studio=localhost:8080",
    "label_studio=ftp://x",
    "label_studio=http://",
    "label_studio=http://user:word@x",
    "label_studio=http://x:99999",
    "label_studio=http://x?a=b",
)


@pytest.mark.parametrize("argument", WRONG)
def test_what_cannot_be_is_one_line(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "no-model", argument]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and argument.partition("=")[0] in said and "no-model" not in said


def test_the_port_of_the_demo_is_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "port=99999"]) == 2
    assert capsys.readouterr().err == "error: port: got 99999, expected a whole number <= 65535\n"


def test_addresses_are_taken_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(serve, "load_engines", lambda _: [None])
    monkeypatch.setattr(listen, "listen", lambda _, settings, *rest: seen.append(settings))
    given = ["cors=HTTPS://Tools.example:443/", "label_studio=http://[::1]:8080/", "token=a+b c"]
    assert cli.main(["serve", *given]) == 0
    (settings,) = seen
    assert (settings.cors, settings.label_studio) == ("https://tools.example", "http://[::1]:8080")
    assert settings.token == "a+b c"
