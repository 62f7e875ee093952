"""Asking a command for help reads nothing, fetches nothing and starts nothing."""

import argparse
import builtins
import importlib
import io
import socket

import pytest

from dualrec_utils import __main__ as command
from dualrec_utils.core import config

PACKAGE = config.PACKAGE_ROOT / "dualrec_utils"
# They run in environments of their own, beside RecBole and Surprise.
_ELSEWHERE = [PACKAGE / "studies" / "peers" / f"run_{name}.py" for name in ("recbole", "surprise")]
MODULES = sorted(
    ".".join(path.relative_to(config.PACKAGE_ROOT).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path not in _ELSEWHERE and "\nif __name__ == " in path.read_text(encoding="utf-8")
)


def words_of(parser, before=()):
    """The words of every command that a parser knows, its own first."""
    yield before
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from words_of(below, (*before, word))


def helped(main, monkeypatch, *arguments):
    """The exit status of a command that can open no file and reach no address."""

    def refused(*args, **_):
        raise AssertionError(f"help needs {args[0]}")

    with monkeypatch.context() as patch:
        for place, name in ((builtins, "open"), (io, "open"), (socket.socket, "connect")):
            patch.setattr(place, name, refused)
        with pytest.raises(SystemExit) as ended:
            main(*arguments)
    return ended.value.code


@pytest.mark.parametrize("words", list(words_of(command._parser())), ids=" ".join)
def test_a_command_says_what_it_does_and_does_nothing(monkeypatch, capsys, words):
    assert helped(command.main, monkeypatch, [*words, "--help"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(("usage: dualrec", *words)))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_can_be_started_reads_its_arguments_first(monkeypatch, capsys, name):
    module = importlib.import_module(name)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    assert helped(module.main, monkeypatch) == 0
    assert "usage" in capsys.readouterr().out
