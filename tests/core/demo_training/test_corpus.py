"""The conversations: the same every time, free of held-out phrasings, right about the world, and laid out as the
template would.
"""

import itertools
import json

import pytest
from tokenizers import Tokenizer

from demo_training.corpus import held_out as ho
from demo_training.corpus import phrasings, phrasings_chinese, phrasings_size
from demo_training.corpus.answers import EXPLAIN, EXPLAIN_VERSUS, TOPICS
from demo_training.corpus.corpus import SYSTEM_PROMPTS, Conversation, conversations, encode
from demo_training.corpus.dialogue import Turn
from demo_training.corpus.facts import ALIASES, BY_NAME, COUNTRIES, people
from demo_training.corpus.small_talk import SMALL_TALK
from qwen_core.demo import demo_model_path
from qwen_core.text.template import ChatTemplate


@pytest.fixture(scope="module")
def sample() -> list[Conversation]:
    return list(itertools.islice(conversations(7), 3000))


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate((demo_model_path() / "chat_template.jinja").read_text(encoding="utf-8"))


def test_a_seed_fixes_the_conversations() -> None:
    first, again, other = (list(itertools.islice(conversations(seed), 200)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_there_are_200_held_out_questions_and_always_the_same() -> None:
    items = ho.held_out_items()
    assert len(items) == 200
    assert items == ho.held_out_items()


def test_held_out_questions_never_occur_in_training(sample: list[Conversation]) -> None:
    asked = {ho.normalise(turn.question) for conversation in sample for turn in conversation.turns}
    held = {ho.normalise(item.questions[-1]) for item in ho.held_out_items()}
    assert len(asked) > 8_000
    assert not asked & held


def test_held_out_templates_are_no_training_templates() -> None:
    trained = {
        ho.normalise(template)
        for module in (phrasings, phrasings_chinese, phrasings_size)
        for name, templates in vars(module).items()
        if name.isupper()
        for template in templates
    }
    trained |= {ho.normalise(t.format(t=n)) for t in EXPLAIN for _, names, _ in TOPICS.values() for n in names}
    trained |= {ho.normalise(q) for q in EXPLAIN_VERSUS} | {ho.normalise(q) for qs, _, _ in SMALL_TALK for q in qs}
    held = [*ho.CAPITAL, *ho.FOLLOW_UP, *ho.REVERSE, *ho.LARGEST, *ho.SMALLEST, *ho.POPULATION, *ho.IDENTITY]
    held += [question for question, _ in ho.QUANTISATION]
    assert not trained & {ho.normalise(template) for template in held}


def test_answers_about_capitals_are_right(sample: list[Conversation]) -> None:
    capitals = {c.phrase: c.capital for c in COUNTRIES}
    seen = set()
    for turn in (turn for conversation in sample for turn in conversation.turns):
        if turn.answer.startswith("The capital of ") and ", " not in turn.answer.replace("Washington, ", ""):
            country, capital = turn.answer.removeprefix("The capital of ").split(" is ")
            assert capital == capitals[country] + "." or capital == capitals[country] == "Washington, D.C."
            seen.add(country)
    assert seen == set(capitals)


def test_comparisons_name_the_largest_and_the_smallest(sample: list[Conversation]) -> None:
    sizes = {c.capital: c.millions for c in COUNTRIES}
    compared = 0
    for conversation in sample:
        for turn in conversation.turns:
            if not turn.thought.startswith("Populations: ") or " of the " not in turn.answer:
                continue
            named = {city for city in sizes if f" {city} {people(sizes[city])}" in turn.thought}
            best = turn.answer.split(" is ", 1)[1].split(", with")[0]
            pick = max if turn.answer.startswith("The larg") else min
            assert best == pick(named, key=lambda city: sizes[city]), turn
            compared += 1
    assert compared > 150


def test_the_facts_hold_together() -> None:
    assert len(COUNTRIES) == len(BY_NAME) == 195
    assert len({c.capital for c in COUNTRIES}) == 195
    assert sum(1 for c in COUNTRIES if c.chinese and c.chinese_capital) >= 40
    assert set(ALIASES.values()) <= set(BY_NAME)
    assert all(0 < c.millions < 40 and 1 <= c.weight <= 6 for c in COUNTRIES)
    known = {"France": "Paris", "Australia": "Canberra", "Brazil": "Brasilia", "Canada": "Ottawa", "Japan": "Tokyo"}
    assert {name: BY_NAME[name].capital for name in known} == known
    assert [people(0.47), people(37), people(3.6)] == ["470,000", "37 million", "3.6 million"]


def test_conversations_are_laid_out_as_the_template_does(sample: list[Conversation], template: ChatTemplate) -> None:
    for conversation in sample[:300]:
        messages = [] if conversation.system is None else [{"role": "system", "content": conversation.system}]
        for turn, thinking in zip(conversation.turns, conversation.thinking, strict=True):
            messages.append({"role": "user", "content": turn.question})
            thought = turn.thought if thinking else ""
            messages.append({"role": "assistant", "content": turn.answer, "reasoning_content": thought})
        text = template.render(messages, add_generation_prompt=False, preserve_thinking=conversation.as_generated)
        assert text == conversation.text


def test_pieces_are_tokenised_as_their_whole(sample: list[Conversation]) -> None:
    tokenizer = Tokenizer.from_file(str(demo_model_path() / "tokenizer.json"))
    for conversation in sample[:300]:
        ids, learn = encode(conversation, lambda text: tokenizer.encode(text).ids)
        assert ids == tokenizer.encode(conversation.text).ids
        assert len(learn) == len(ids)
        assert any(learn) and not all(learn)


def test_only_answers_and_thoughts_are_learnt() -> None:
    turns = (Turn("One?", "t1", "a1"), Turn("Two?", "t2", "a2"))
    generated = Conversation("S", turns, (False, True), as_generated=True)
    learnt = [piece for piece, is_learnt in generated.segments() if is_learnt]
    assert learnt == ["a1<|im_end|>", "t2\n</think>\n\na2<|im_end|>"]
    rendered = Conversation(None, turns, (True, False), as_generated=False)
    assert rendered.text.count("<think>") == 1
    assert [piece for piece, is_learnt in rendered.segments() if is_learnt] == ["a1<|im_end|>", "a2<|im_end|>"]


def test_system_prompts_are_json_safe_and_distinct() -> None:
    assert len(set(SYSTEM_PROMPTS)) == len(SYSTEM_PROMPTS)
    assert json.loads(json.dumps(SYSTEM_PROMPTS)) == list(SYSTEM_PROMPTS)
