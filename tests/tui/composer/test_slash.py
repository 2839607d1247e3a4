"""What a line in the composer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.composer.slash import COMMANDS, Call, MessageText, Mistake, SlashCommand, parse_input


@given(st.text(min_size=1).filter(lambda text: not text.startswith("/")))
def test_text_is_sent_as_it_is(text: str) -> None:
    assert parse_input(text) == MessageText(text)


@given(st.text())
def test_two_slashes_send_one(text: str) -> None:
    assert parse_input("//" + text) == MessageText("/" + text)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_understood_as_its_usage_says(command: SlashCommand) -> None:
    argument = command.choices[0] if command.choices else ("midnight" if command.argument else "")
    assert parse_input(f"/{command.name} {argument}".rstrip()) == Call(command.name, argument)
    assert command.usage.startswith(f"/{command.name}")


@pytest.mark.parametrize("line", ["/nope", "/", "/quit now", "/guard much", "/hepl", "/usr/bin/env fails\nwhy?"])
def test_a_line_that_is_no_command_is_pointed_out(line: str) -> None:
    assert isinstance(parse_input(line), Mistake)


def test_a_slip_is_guessed() -> None:
    mistake = parse_input("/hepl")
    assert isinstance(mistake, Mistake)
    assert "/help" in mistake.message


def test_what_other_programs_call_it_is_understood() -> None:
    assert {name: parse_input(f"/{name}") for name in ("exit", "bye", "clear", "?")} == {
        "exit": Call("quit"),
        "bye": Call("quit"),
        "clear": Call("new"),
        "?": Call("help"),
    }
    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]
    assert len(set(names)) == len(names)
