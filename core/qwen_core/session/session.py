"""`Session`: a conversation as a token sequence over one model state ("The way of a token" in core/README.md).

Owns which tokens belong to the conversation and which of them the state already holds; the arithmetic of a turn is
turn.py's, how one begins opening.py's, getting a model into memory loading.py's.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwen_core.errors import SettingsError
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.counting import PromptCount
from qwen_core.protocol.events import (
    DraftMode,
    Effort,
    GenerationSettings,
    LoadSettings,
    Message,
    StateSaved,
    StreamEvent,
)
from qwen_core.protocol.pieces import Piece, text_of, with_late_reasoning
from qwen_core.session.drafters import why_off
from qwen_core.session.foresight import check_fits, foresee
from qwen_core.session.generation_settings import merge_settings
from qwen_core.session.loading import LoadedModel, Stopped
from qwen_core.session.prompts import Prompts, Run
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.sampling import Sampler, resolve_sampling
from qwen_core.session.scoring import Scorer
from qwen_core.session.snapshots import SnapshotStore
from qwen_core.session.state_file import load_state, save_state
from qwen_core.session.turn import Turn, TurnPlan, never
from qwen_core.text.effort import find_levels, resolve_effort
from qwen_core.text.piece_stream import PieceStream
from qwen_core.text.template import ChatTemplate
from qwen_core.text.tokenizer import Tokenizer

_MOST_LEFT = 4


class Session(Scorer):
    """A conversation with one model. Not thread-safe: everything happens on the thread that loaded the model.

    `ids` are exactly the tokens that were fed to the state. `conversation_ids` are those of the finished turns: the
    same, unless a turn was stopped while its prompt was read, an error emptied the state, or nothing was fed yet
    since `restore`. `messages` is the conversation as people see it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        system: str | None = None,
        snapshot_budget_bytes: int = LoadSettings.snapshot_budget_bytes,
    ) -> None:
        super().__init__(loaded, tokenizer)
        self.tokenizer = tokenizer
        self.template = template
        self.system = system
        self.messages: list[Message] = []
        self.ids: list[int] = []
        self.conversation_ids: list[int] = []
        self.state = self.model.new_state()
        self._snapshots = SnapshotStore(snapshot_budget_bytes)
        self._reasoning_open = False
        self._left: list[Run] = []
        self.efforts = find_levels(template)
        loaded.summary = replace(
            loaded.summary,
            efforts=tuple(self.efforts.groups.items()),
            default_effort=self.efforts.default,
            thinking_levels=tuple(level for level in self.efforts.groups if level in self.efforts.thinking),
            thinks=self.efforts.thinks,
        )
        im_end = tokenizer.token_to_id("<|im_end|>")
        self._stop_ids = loaded.stop_ids | ({im_end} if im_end is not None else set())
        self._prompts = Prompts(template, tokenizer, frozenset(self._stop_ids))

    def close(self) -> None:
        """Let go of the model's memory. The session takes no more turns."""
        self.release()
        super().close()

    def set_system(self, system: str | None) -> None:
        """Change the system prompt. The next turn renders the whole conversation again."""
        self.system = system

    def restore(
        self,
        messages: Sequence[Message],
        ids: Sequence[int] = (),
        system: str | None = None,
        known: int | None = None,
    ) -> None:
        """Put a conversation back: after a crash, on resume, or an earlier turn of this one, to take it elsewhere.

        `ids` are the tokens that were fed for `messages`, or the first `known` of them, generated ones as generated;
        the template renders the others, or all where an id is no token of this model. The next turn prefills what
        neither the state nor a snapshot holds. What was there before is remembered, for the way back.
        """
        if self.conversation_ids:
            self._leave(Run(tuple(self.conversation_ids), tuple(self.messages), self._reasoning_open))
        self.system = system
        self.messages = list(messages)
        known = len(self.messages) if known is None else known
        valid = all(0 <= token < self.model.config.vocab_size for token in ids)
        self.conversation_ids = list(ids) if valid and known >= len(self.messages) else []
        self._reasoning_open = self._prompts.opens_reasoning(self.conversation_ids)
        if valid and 0 < known < len(self.messages):
            self._leave(Run(tuple(ids), tuple(self.messages[:known]), self._prompts.opens_reasoning(ids)))

    def release(self) -> None:
        """Give the memory of the state and of the snapshots back: the next turn prefills all of its prompt."""
        self._snapshots.clear()
        self.ids = []
        self.state = self.model.new_state()

    def save_state(self, path: str | Path) -> StateSaved:
        """Write the state to a file, for `load_state` to go on from. Raises QwenError where that cannot be done."""
        if self.ids != self.conversation_ids:
            raise SettingsError("the state cannot be saved before the next answer: it does not hold the conversation")
        nbytes = save_state(Path(path), self.model, self.loaded.summary.fingerprint, self.ids, self.state)
        return StateSaved(str(path), len(self.ids), nbytes)

    def load_state(self, path: str | Path) -> int:
        """Take up a saved state of the conversation that `restore` put back; how many tokens need no prefill now.

        Raises QwenError, one line, for a file that does not fit; nothing has changed then.
        """
        ids, state = load_state(Path(path), self.model, self.loaded.summary.fingerprint, self.conversation_ids)
        self._snapshots.clear()
        self.ids, self.state = ids, state
        return len(ids)

    def draft_refusal(self, mode: DraftMode) -> str:
        """One line where the MTP layer is asked for and not there, or is there and cannot draft; "" for none."""
        return self.loaded.drafters.refusal(mode)

    def watch_experts(self, on: bool) -> None:
        """Whether events say which experts of a mixture were used (`StreamEvent.experts`); a dense model has none."""
        self.model.watch_experts(on)

    def send_stream(
        self,
        text: str,
        settings: GenerationSettings | None = None,
        *,
        stop: Stopped | None = None,
        **overrides: Any,
    ) -> Generator[StreamEvent, None, None]:
        """Answer `text`, as events; the last has `done=True` and `stats`.

        Settings may come as keywords: the fields of `GenerationSettings`, and `reasoning_effort` for `effort`.
        Stopping (by `stop`, or by closing the iterator) keeps the partial answer in the conversation. Raises
        QwenError before anything is fed if a setting is out of its range or the template fails.
        """
        settings = merge_settings(settings, overrides)
        chat, target, kwargs = self._asked(text, settings)
        boundary = self._prompts.boundary(chat, target, kwargs) if settings.drop_reasoning else None
        before = [*self.messages, Message("user", text)]
        yield from self._turn(target, settings, stop, before=before, said=[], boundary=boundary)

    def count(
        self, text: str, settings: GenerationSettings | None = None, *, stop: Stopped = never
    ) -> PromptCount | None:
        """What it would take to send `text` now, in tokens; nothing is read or changed for that.

        A text that alone is longer than the context is counted no further. None where `stop` said so meanwhile. Raises
        QwenError as `send_stream` does.
        """
        limit = self.loaded.summary.context_limit
        own = self.tokenizer.count_up_to(text, limit, stop)
        if own is None or stop():
            return None
        if own > limit:
            return PromptCount(own, 0, own, at_least=True)
        _, target, _ = self._asked(text, settings or GenerationSettings())
        return PromptCount(len(target), self._known_of(target), own)

    def _keep_free(self, nbytes: int) -> None:
        self._snapshots.make_room(max(0, nbytes - self.state.nbytes))

    def _asked(self, text: str, settings: GenerationSettings) -> tuple[list[dict[str, Any]], list[int], dict[str, Any]]:
        """The conversation with the question `text`, its ids, and what the template was given beside it."""
        kwargs = {**self.efforts.given(settings.effort), "preserve_thinking": not settings.drop_reasoning}
        chat = [*self._chat(), {"role": "user", "content": text}]
        target = self._prompts.encode(chat, kwargs) if settings.drop_reasoning else self._target_ids(chat, kwargs)
        return chat, target, kwargs

    def continue_stream(
        self, settings: GenerationSettings | None = None, *, stop: Stopped | None = None, **overrides: Any
    ) -> Generator[StreamEvent, None, None]:
        """Go on with the last answer, which was stopped or reached a limit, as events like `send_stream`'s.

        Its message grows by what is said now. Nothing is prefilled where the state, or a snapshot, is still behind its
        last token: it has the logits. Raises SettingsError where there is nothing to go on with.
        """
        settings = merge_settings(settings, overrides)
        target = self.conversation_ids
        if not self.messages or self.messages[-1].role != "assistant":
            raise SettingsError("there is no answer to continue; ask something first")
        heads = self.efforts.variables.values() or ({},)
        if not target or not any(self._begins(target, given) for given in heads):
            raise SettingsError("this answer cannot be continued, its tokens are not known; ask for more instead")
        if target[-1] in self._stop_ids:
            raise SettingsError("the last answer is complete, there is nothing to continue; ask for more instead")
        *before, last = self.messages
        said: list[Piece] = [("answer", last.content), ("reasoning", last.reasoning), ("tool_call", last.tool_calls)]
        yield from self._turn(list(target), settings, stop, before=before, said=said)

    def begin_stream(
        self, text: str, begun: BegunAnswer, settings: GenerationSettings | None = None, *, stop: Stopped | None = None
    ) -> Generator[StreamEvent, None, None]:
        """Answer `text`, which ends `begun.prompt_ids`, going on with an answer that is given so far and told first."""
        target, before = begun.tokens(self.model.config.vocab_size), [*self.messages, Message("user", text)]
        yield from self._turn(target, settings or GenerationSettings(), stop, before=before, said=[], begun=begun)

    def _turn(
        self,
        target: list[int],
        settings: GenerationSettings,
        stop: Stopped | None,
        *,
        before: Sequence[Message],
        said: list[Piece],
        boundary: int | None = None,
        begun: BegunAnswer | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Answer what `target` ends with, and keep it behind the messages `before`, however it ends.

        `said` is what this answer has said already: something where one goes on. `begun`: `target` ends with it.
        """
        in_reasoning = self._prompts.opens_reasoning(target if begun is None else begun.prompt_ids)
        parameters = resolve_sampling(settings, self.loaded.generation_config, thinking=in_reasoning)
        foreseen = foresee(self.loaded, len(target), len(target) - self._known_of(target))
        left = check_fits(foreseen, self.loaded, self.state.nbytes)
        self._enter(target)
        self._snapshots.make_room(left)
        prompt = len(target) - (len(begun.ids) if begun is not None else 0)
        budget, count, vocab_limit = settings.reasoning_budget, settings.num_draft_tokens, self.tokenizer.size
        drafting = self.loaded.drafters.drafting(settings.draft, count, self.ids, self.state, vocab_limit)
        plan = TurnPlan(
            new_ids=target[len(self.ids) :],
            stop_ids=frozenset(self._stop_ids),
            max_new_tokens=settings.max_new_tokens,
            snapshot_bytes=self._snapshots.nbytes,
            kept_at=[place - len(self.ids) for place in (boundary, prompt) if place is not None],
            keep_here=lambda: self._snapshots.keep(self.ids, self.state, left if len(self.ids) == prompt else None),
            foreseen_bytes=foreseen.total,
            budget=BudgetWatch(budget, self.tokenizer.encode) if budget is not None else None,
            repetition_guard=RepetitionGuard() if settings.repetition_guard else None,
            drafting=drafting,
            draft_off=why_off(settings.draft, count),
            logprobs=settings.logprobs,
            begun=begun,
        )
        sampler = Sampler(parameters, self.tokenizer.size, self.model.config.vocab_size)
        sampler.note_prompt(target, answer=begun.ids if begun is not None else ())
        pieces = PieceStream(self.tokenizer, in_reasoning)
        said_before = len(text_of(said, "answer"))
        # An error inside a step leaves the arrays in a state nobody knows; at a yield they agree with `ids`.
        in_step = True
        try:
            for event in Turn(self.loaded, self.state, self.ids, plan, sampler, pieces, stop).run():
                said += event.pieces
                in_step = False
                yield event
                in_step = True
            in_step = False
        finally:
            if len(self.ids) >= len(target):
                said += pieces.flush()
                late = pieces.late_reasoning and said_before + pieces.late_reasoning
                kept = with_late_reasoning(said, late)
                parts = (text_of(kept, "answer"), text_of(kept, "reasoning"), text_of(kept, "tool_call"))
                self.messages = [*before, Message("assistant", *parts)]
                self.conversation_ids = list(self.ids)
                self._reasoning_open = pieces.reasoning_is_open
            if in_step:
                self.release()
            elif drafting is not None:
                self.loaded.drafters.ended(drafting, self.state)

    def _target_ids(self, chat: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> list[int]:
        """All ids of the conversation `chat`, whose last message is the next question, up to where the answer begins.

        The ids of finished turns are kept as they were generated whenever the template's own text can be appended
        to them, also those of an effort that the conversation comes back to; otherwise all of it is rendered again.
        """
        present = Run(tuple(self.conversation_ids), tuple(self.messages), self._reasoning_open)
        runs = sorted((present, *reversed(self._left)), key=lambda run: -len(run.messages))
        if runs := [run for run in runs if run.begins(self.messages)]:
            head = self._prompts.head(self.system, kwargs)
            found = (self._prompts.continued(run, head, chat, kwargs) for run in runs)
            if (ids := next((ids for ids in found if ids is not None), None)) is not None:
                return ids
        return self._prompts.encode(chat, kwargs)

    def _begins(self, ids: Sequence[int], kwargs: Mapping[str, Any]) -> bool:
        return self._prompts.begins(ids, self._prompts.head(self.system, kwargs))

    def _chat(self) -> list[dict[str, Any]]:
        return self._prompts.chat(self.messages, self.system)

    def _held_of(self, target: list[int]) -> int:
        """How many of the target's ids the state holds; -1 where it holds another sequence, or all without logits."""
        most = len(target) - (self.state.logits is None)
        return len(self.ids) if len(self.ids) <= most and self.ids == target[: len(self.ids)] else -1

    def ways_back(self, effort: Effort | None, *, drop_reasoning: bool = False) -> tuple[tuple[int, int], ...]:
        """Which `efforts.groups` the next question can have without reading all again, and how many tokens need none
        then: all of them in that of `effort`, which the last question had."""
        found: dict[int, int] = {}
        present = effort or self.efforts.default
        if present is not None and self.efforts.groups:
            present, _ = resolve_effort(tuple(self.efforts.groups), present)
            found[self.efforts.groups[present]] = len(self.conversation_ids)
        for level, group in self.efforts.groups.items() if self._left else ():
            kwargs = {**self.efforts.given(level), "preserve_thinking": not drop_reasoning}
            head = self._prompts.head(self.system, kwargs)
            runs = (run for run in reversed(self._left) if run.begins(self.messages))
            run = next((run for run in runs if self._prompts.begins(run.ids, head)), None)
            if run is None or found.get(group):
                continue
            target = [*run.ids, -1]
            if drop_reasoning:
                chat = [*self._chat(), {"role": "user", "content": "x"}]
                target = self._prompts.encode(chat, kwargs)
            kept = self._snapshots.longest_prefix(target)
            if kept is not None:
                found[group] = len(kept.ids)
        return tuple(found.items())

    def _known_of(self, target: list[int]) -> int:
        """How many of the target's first ids need no prefill."""
        kept = self._snapshots.longest_prefix(target)
        return max(0, self._held_of(target), len(kept.ids) if kept is not None else 0)

    def _enter(self, target: list[int]) -> None:
        """Bring state and `ids` to the longest known prefix of `target`, and remember where that was."""
        live = self._held_of(target)
        kept = self._snapshots.longest_prefix(target)
        # The conversation as another effort or system prompt has it: there is a way back to what was read of it.
        leaves = live < 0 and self.ids == self.conversation_ids and (kept is None or self._snapshots.is_aside(kept))
        if leaves:
            self._snapshots.set_aside(self.ids, self.state)
            self._leave(Run(tuple(self.ids), tuple(self.messages), self._reasoning_open))
        if kept is not None and len(kept.ids) > live:
            self._snapshots.go_to(kept)
            self.state.restore(kept.snapshot)
            self.ids = list(kept.ids)
        elif leaves:
            self.state.begin_again()
            self.ids = []
        elif live < 0:
            self.release()
        if self.ids:
            self._snapshots.keep(self.ids, self.state)
        else:
            self._snapshots.trim()

    def _leave(self, run: Run) -> None:
        """Remember ids that messages of the conversation were fed as."""
        self._left = [*(other for other in self._left if other != run), run][-_MOST_LEFT:]
