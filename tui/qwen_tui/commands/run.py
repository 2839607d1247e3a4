"""`qwen-tui run`: one answer without the app, in this process, on its main thread."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from qwen_core.errors import QwenError
from qwen_core.settings.ranges import LOGPROBS
from qwen_tui.commands.effort import check_effort
from qwen_tui.commands.interrupt import FAULT, INTERRUPTED, OK, Interrupt, interruptible, rank_lost
from qwen_tui.commands.logprobs import TokenTexts, learning, logprob_lines
from qwen_tui.commands.options import (
    NumberType,
    TokenIds,
    generation_options,
    hosts_option,
    json_option,
    model_argument,
    overrides_from,
)
from qwen_tui.commands.output import json_line
from qwen_tui.commands.run_answer import AnswerText, missing_answer, summary_lines
from qwen_tui.commands.run_meter import RunMeter
from qwen_tui.commands.run_request import RunRequest, read_request
from qwen_tui.commands.terminal import Terminal

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import GenerationSettings, LoadSettings, ModelSummary, StreamEvent
    from qwen_tui.settings.file import LoadedSettings


@click.command()
@model_argument
@click.option("-p", "--prompt", metavar="TEXT", help="The question; - reads standard input, as a pipe does.")
@click.option("--messages", metavar="FILE", help="A JSON list of role/content that ends with a user message.")
@click.option("--prompt-ids", type=TokenIds(), metavar="1,2,3", help="Raw token ids: no template, no tokenizer.")
@click.option(
    "--logprobs",
    type=NumberType(LOGPROBS),
    metavar="N",
    help="How likely each token was, and the N likeliest; 1 to 20.",
)
@click.option("--meter", is_flag=True, help="Figures as JSON lines on standard error, four a second.")
@json_option
@hosts_option
@generation_options
def run(
    model_dir: str | None,
    prompt: str | None,
    messages: str | None,
    prompt_ids: tuple[int, ...] | None,
    logprobs: int | None,
    meter: bool,
    as_json: bool,
    system: str | None,
    dtype: str | None,
    **options: Any,
) -> int:
    """Print one answer on standard output.

    Reasoning and statistics go to standard error. With --json standard output gets one JSON object and nothing else;
    its token_ids are all generated ids, the stop token included, and its logprobs, where --logprobs asks for them, one
    entry for each of these, in nats; without --json these are a table on standard error. With
    --meter standard error gets the figures and nothing else. What is not given is taken from config.toml (doctor names
    it) and from QWEN_TUI_GENERATION_... variables.
    """
    check_effort(options["effort"], model_dir)
    request = read_request(prompt, messages, prompt_ids, system)
    if prompt_ids is not None and options["effort"] is not None:
        raise click.UsageError("--prompt-ids renders no template: --effort cannot be used with it.")
    from qwen_core.engine.log import divert_native_words  # here: the program's --help needs none of it
    from qwen_tui.settings.file import load_settings

    loaded = load_settings(overrides=overrides_from(options))
    for problem in loaded.problems if not meter else ():
        click.echo(f"qwen-tui: {problem}", err=True)
    if loaded.settings.hardware.hosts:
        divert_native_words()
    settings = replace(loaded.settings.request(), logprobs=logprobs)
    if prompt_ids is not None:
        settings = replace(settings, effort=None)
    elif messages is None and request.system is None:
        request = replace(request, system=loaded.settings.generation.system)
    with interruptible() as interrupt:
        try:
            return _run(model_dir, request, settings, loaded, dtype, as_json=as_json, meter=meter, interrupt=interrupt)
        except BrokenPipeError:  # whoever read the answer has had enough of it
            return OK
        except QwenError:
            if interrupt.raised:
                click.echo("qwen-tui: interrupted", err=True)
                return INTERRUPTED
            raise


def _run(
    model_dir: str | None,
    request: RunRequest,
    settings: GenerationSettings,
    loaded: LoadedSettings,
    dtype: str | None,
    *,
    as_json: bool,
    meter: bool,
    interrupt: Interrupt,
) -> int:
    from qwen_core.protocol.events import ModelSummary
    from qwen_core.settings.sampling_values import DEFAULT, Sourced
    from qwen_core.text.effort import resolve_effort
    from qwen_tui.settings.counting import counting

    terminal = Terminal(narrate=not meter)
    answer = AnswerText()
    load = loaded.settings.for_load()
    events = _events(model_dir, request, settings, load, dtype, terminal, interrupt, answer.texts)
    model: ModelSummary | None = None
    with closing(events), RunMeter(sys.stderr) if meter else nullcontext() as figures:
        for event in events:
            if isinstance(event, ModelSummary):
                model = event
                if figures is not None:
                    figures.loaded(model)
                if settings.effort is not None and (notice := resolve_effort(model.levels, settings.effort)[1]):
                    terminal.line(notice)
                continue
            event = interrupt.timed(event)
            answer.add(event)
            if figures is not None:
                figures.event(event)
            if not as_json:
                terminal.event(event)
        terminal.close()
        if model is None or answer.final is None:
            raise QwenError("the engine ended without finishing its answer")
        if as_json:
            # Raw ids have no turn that begins without reasoning.
            sampling = counting(loaded, model, thinking=None if request.prompt_ids is None else True)
            if request.prompt_ids is not None:
                sampling["effort"] = Sourced(None, DEFAULT)
            logprobs = settings.logprobs is not None
            terminal.print(json_line(answer.fields(model, sampling, logprobs=logprobs)))
            unread = answer.final.finish_reason == "context" and not answer.token_ids  # which is told below
            if not meter and not unread and (missing := missing_answer(answer)):
                click.echo(f"qwen-tui: {missing}", err=True)
        else:
            if (probabilities := answer.probabilities) is not None:
                for line in logprob_lines(answer.token_ids, probabilities, answer.texts):
                    terminal.line(line)
            for line in summary_lines(answer, model.peak_source):
                terminal.line(line)
    if answer.final.finish_reason == "cancelled":
        return INTERRUPTED
    if answer.final.finish_reason == "context" and not answer.token_ids:
        if as_json and not meter:
            click.echo(f"qwen-tui: {answer.final.notice}", err=True)
        return FAULT
    return OK


def _events(
    model_dir: str | None,
    request: RunRequest,
    settings: GenerationSettings,
    load: LoadSettings,
    dtype: str | None,
    terminal: Terminal,
    interrupt: Interrupt,
    texts: TokenTexts,
) -> Generator[ModelSummary | StreamEvent, None, None]:
    """Load, then answer: the model's summary first, then the events of the answer. Closes the model at the end; `texts`
    knows by then what the tokens write that have probabilities."""
    from qwen_core import demo_model_path
    from qwen_core.checkpoint.locate import resolve_model_path

    path = demo_model_path() if model_dir is None else resolve_model_path(model_dir)
    progress = terminal.loading
    if request.prompt_ids is not None:
        from qwen_core.engine.loading import load_completion

        with load_completion(
            path, dtype=dtype, settings=load, progress=progress, stop=interrupt, lost=rank_lost
        ) as completion:
            yield completion.summary()
            events = completion.complete(request.prompt_ids, settings, stop=interrupt)
            yield from learning(events, texts, lambda: completion.spell)
        return
    from qwen_core.engine.loading import load_session

    with load_session(
        path, request.system, dtype=dtype, settings=load, progress=progress, stop=interrupt, lost=rank_lost
    ) as session:
        yield session.summary()
        if request.history:
            session.restore(request.history, (), request.system)
        events = session.send_stream(request.text, settings, stop=interrupt)
        yield from learning(events, texts, lambda: session.spell)
