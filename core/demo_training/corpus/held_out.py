"""Phrasings kept out of training, and the 200 questions made of them that `evaluate.py` asks.

The corpus refuses any question that equals one of these once case and punctuation are gone.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from .facts import COUNTRIES, Country, people

CAPITAL = """
Which city would I find on a map marked as the capital of {c}?
I can never remember the capital of {c}, what is it?
In what city does the government of {c} sit?
Say, what might {c}'s capital be?
What's the capital called in {c}?
Would you kindly give me the capital of {c}?
My crossword asks for the capital of {c}.
What is the official capital of {c}?
If someone says "the capital of {c}", which city do they mean?
Got a quick one for you: {c}'s capital city?
The capital city of {c}, what is it called?
Let's talk about {c}. What's its capital city?
capital {c}
Please name the city that is capital of {c}.
Teach me: what is the capital of {c}?
What city is the capital city of the country {c}?
Which one is the capital city of {c}?
I was wondering what the capital of {c} is.
hello can you please tell me what is the capital of {c}
Can you name {c}'s capital city for me?
""".strip().splitlines()

FOLLOW_UP = """
What would it be for {c}?
And now for {c}?
Fine. {c} next.
Okay, what about {c} then?
Could you do {c} as well?
And, say, {c}?
Cool! How about {c}?
what abt {c}
same for {c} pls
Tell me that of {c} as well.
""".strip().splitlines()

REVERSE = """
Which nation has its capital in {k}?
{k} is the capital city of which country?
Which country would I visit to see its capital {k}?
Can you tell me what country has {k} as capital?
Name the country that {k} is the capital of.
""".strip().splitlines()

LARGEST = """
Which one of those three cities has the biggest population?
Out of these three, which is the most populous city?
Which of the three capitals is the largest by population?
Please tell me which of those three cities is the biggest.
Of the three cities above, which has the most inhabitants?
""".strip().splitlines()

SMALLEST = """
Which one of those three cities has the lowest population?
Out of these three, which is the smallest city?
Which of the three capitals is the smallest by population?
""".strip().splitlines()

POPULATION = """
Roughly how many people live in {k}?
What's the number of people in {k}?
Could you give me the population of {k}?
""".strip().splitlines()

IDENTITY = """
Tell me, who exactly are you?
What sort of model are you?
Are you a real Qwen model or a demo?
Please introduce yourself to me.
And what might your name be?
Tell me what kind of things you are able to do.
""".strip().splitlines()

QUANTISATION = (
    ("Could you explain to me what NVFP4 is?", ("nvfp4", "16")),
    ("What does MXFP4 mean exactly?", ("mxfp4", "32")),
    ("Please describe affine quantisation to me.", ("scale", "bias")),
    ("I would like to understand NVFP4 and MXFP4: how do they differ?", ("nvfp4", "mxfp4", "e8m0")),
    ("So what is NVFP4 good for, what is it?", ("nvfp4", "16")),
    ("What might MXFP4 be?", ("mxfp4", "32")),
)


@dataclass(frozen=True)
class Item:
    """Questions to ask one after the other, and what the last answer must contain (all of it, whatever its case)."""

    kind: str
    questions: tuple[str, ...]
    expected: tuple[str, ...]


def normalise(text: str) -> str:
    """A question without case, punctuation and spacing."""
    return " ".join(re.findall(r"\w+", text.lower()))


def held_out_items(seed: int = 2026) -> list[Item]:
    """The 200 questions, always the same ones."""
    rng = random.Random(seed)
    by_weight = [c for c in COUNTRIES for _ in range(c.weight)]
    known = [c for c in COUNTRIES if c.weight >= 3 and c.name != c.capital]

    def country() -> Country:
        return rng.choice(by_weight)

    items: list[Item] = []
    for template in CAPITAL:
        for _ in range(5):
            c = country()
            items.append(Item("capital", (template.format(c=c.phrase),), (c.capital,)))
    for template in FOLLOW_UP:
        for _ in range(3):
            first, c = rng.sample(COUNTRIES, 1)[0], country()
            questions = (f"What is the capital of {first.phrase}?", template.format(c=c.phrase))
            items.append(Item("follow-up", questions, (c.capital,)))
    for template in REVERSE:
        for _ in range(4):
            c = country()
            items.append(Item("reverse", (template.format(k=c.capital),), (c.name,)))
    for templates, kind, pick in ((LARGEST, "largest", max), (SMALLEST, "smallest", min)):
        for template in templates:
            for _ in range(4 if kind == "largest" else 2):
                three = _three(rng, known)
                answer = pick(three, key=lambda c: c.millions)
                questions = (
                    f"What is the capital of {three[0].phrase}?",
                    f"What about {three[1].phrase}?",
                    f"And {three[2].phrase}?",
                    template,
                )
                items.append(Item(kind, questions, (answer.capital,)))
    for template in POPULATION:
        for _ in range(4):
            c = rng.choice(known)
            items.append(Item("population", (template.format(k=c.capital),), (population_digits(c),)))
    items += [Item("identity", (question,), ("demo model",)) for question in IDENTITY]
    items += [Item("quantisation", (question,), expected) for question, expected in QUANTISATION]
    return items


def population_digits(country: Country) -> str:
    """The population as the answer writes it."""
    return people(country.millions)


def _three(rng: random.Random, countries: list[Country]) -> list[Country]:
    """Three countries whose capitals differ clearly in size."""
    while True:
        three = rng.sample(countries, 3)
        sizes = sorted(c.millions for c in three)
        if sizes[0] * 1.2 < sizes[1] and sizes[1] * 1.2 < sizes[2]:
            return three


CARD_SYSTEM = "You are a helpful assistant. Be concise."
CARD = (
    "What is the capital of France?",
    "What about Germany?",
    "And Japan?",
    "Which of those three cities has the largest population?",
)
CARD_ANSWERS = ("Paris", "Berlin", "Tokyo", "Tokyo")
