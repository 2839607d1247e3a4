"""What is asked in one conversation, and the right answer: a walk through kinds of turns that remembers its cities.

Rules the answers follow, so that every question has one: a country alone asks for its capital; a city alone asks for
its country, or for its population when the turn before was about a population; "those three" are the last three
cities that answers named.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from . import answers, patterns, phrasings, phrasings_chinese, phrasings_size, small_talk
from .declines import decline
from .facts import ALIASES, BY_NAME, COUNTRIES, Country, people
from .held_out import CAPITAL, FOLLOW_UP, IDENTITY, LARGEST, POPULATION, QUANTISATION, REVERSE, SMALLEST, normalise

NUMBERS = {2: "two", 3: "three", 4: "four"}
_LOWERABLE = frozenset((
    "What", "What's", "Which", "Tell", "Can", "Could", "Do", "Name", "Give", "Where", "Is", "How", "And", "Who",
    "Explain", "Describe", "Compare", "In",
))  # fmt: skip
_ALIASES_WITH_ARTICLE = ("UK", "USA", "US", "UAE", "United States of America", "DR Congo", "PRC", "Republic of Ireland")
CHINESE_NUMBERS = {2: "两", 3: "三", 4: "四"}
_COUNTRY_POOL = [c for c in COUNTRIES for _ in range(c.weight)]
_KNOWN = [c for c in COUNTRIES if c.weight >= 3]
_CHINESE = [c for c in COUNTRIES if c.chinese]
_ALIASES_OF: dict[str, list[str]] = {}
for _alias, _name in ALIASES.items():
    _ALIASES_OF.setdefault(_name, []).append(_alias)


def _forbidden() -> frozenset[str]:
    """Every held-out question, over all countries, as `normalise` writes it."""
    texts = [t.format(c=name) for t in CAPITAL + FOLLOW_UP for c in COUNTRIES for name in (c.name, c.phrase)]
    texts += [t.format(k=c.capital) for t in REVERSE + POPULATION for c in COUNTRIES]
    texts += [*LARGEST, *SMALLEST, *IDENTITY, *(question for question, _ in QUANTISATION)]
    return frozenset(normalise(t) for t in texts)


FORBIDDEN = _forbidden()


@dataclass(frozen=True)
class Turn:
    """A question, the thought shown when reasoning is on, and the answer."""

    question: str
    thought: str
    answer: str


def sentence(text: str) -> str:
    """End with one full stop, also after "Washington, D.C."."""
    return text if text.endswith(".") else text + "."


def capital_answer(c: Country) -> str:
    return sentence(f"The capital of {c.phrase} is {c.capital}")


def population_answer(c: Country) -> str:
    return f"The population of {c.capital} is about {people(c.millions)}."


def roughen(rng: random.Random, text: str) -> str:
    """What people do to a sentence: other openings and ends, no capitals, no punctuation, a slip of the finger."""
    if rng.random() < 0.14:
        opener = rng.choice(phrasings.OPENERS)
        lowered = opener.endswith(", ") and text.split()[0] in _LOWERABLE
        text = opener + (text[0].lower() + text[1:] if lowered else text)
    if rng.random() < 0.08:
        text = text.rstrip(".?!") + rng.choice(("", "?", ".")) + rng.choice(phrasings.CLOSERS)
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    if rng.random() < 0.15:
        text = text.lower()
    elif rng.random() < 0.015:
        text = text.upper()
    if rng.random() < 0.06 and len(text) > 12:
        i = rng.randrange(1, len(text) - 1)
        swapped = text[: i - 1] + text[i] + text[i - 1] + text[i + 1 :]
        text = rng.choice((text[:i] + text[i + 1 :], text[:i] + text[i] + text[i:], swapped))
    if rng.random() < 0.02:
        text = text.replace("?", " ?").replace("  ", " ")
    return text


class Dialogue:
    """One conversation in the making."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cities: list[Country] = []  # those answers named, in order
        self.last: Country | None = None  # the one the last answer was about
        self.topic = ""  # kind of the last turn
        self.last_answer = ""
        self.chinese = rng.random() < 0.08

    def run(self, length: int) -> list[Turn]:
        return [self.turn() for _ in range(length)]

    def turn(self) -> Turn:
        while True:
            saved = (list(self.cities), self.last, self.topic)
            question, thought, answer = (self._chinese if self.chinese else self._english)()
            if question.strip() and normalise(question) not in FORBIDDEN:
                self.last_answer = answer
                return Turn(question.strip(), thought, answer)
            self.cities, self.last, self.topic = saved

    def _country(self) -> Country:
        while True:
            c = self.rng.choice(_KNOWN) if self.rng.random() < 0.2 else self.rng.choice(_COUNTRY_POOL)
            if c not in self.cities[-3:]:
                return c

    def _spoken(self, c: Country) -> str:
        """A country as the question names it."""
        others = _ALIASES_OF.get(c.name)
        if others and self.rng.random() < 0.3:
            alias = self.rng.choice(others)
            return f"the {alias}" if alias in _ALIASES_WITH_ARTICLE else alias
        return c.name if self.rng.random() < 0.15 else c.phrase

    def _about(self, c: Country, topic: str) -> None:
        self.cities.append(c)
        self.last, self.topic = c, topic

    def _english(self) -> tuple[str, str, str]:
        rng = self.rng
        comparable = self._comparable()
        if comparable and self.topic != "compare" and rng.random() < 0.3:
            return self._compare(comparable)
        if self.topic == "compare" and rng.random() < 0.35 and comparable:
            return self._compare(comparable)
        if self.topic == "population" and rng.random() < 0.25:
            return self._population_follow_up()
        if self.last and rng.random() < 0.06:
            return self._population_of_it()
        if self.last and rng.random() < 0.035 and self.topic in ("capital", "reverse", "compare"):
            return rng.choice(phrasings.SURE), "The user doubts my last answer, which is right.", self._confirm()
        kinds = (
            self._capital,
            self._follow_up,
            self._reverse,
            self._population,
            self._larger,
            self._is_larger,
            self._is_capital,
            self._several,
            self._topic,
            self._small_talk,
            self._decline,
            self._count,
        )
        follow = 26 if self.topic else 1
        return rng.choices(kinds, (24, follow, 20, 5, 4, 3, 3, 3, 5, 7, 7, 0.3))[0]()

    # Capitals

    def _capital(self) -> tuple[str, str, str]:
        c, rng = self._country(), self.rng
        if c.demonym and rng.random() < 0.08:
            question = rng.choice(phrasings.DEMONYM).format(d=c.demonym)
        else:
            question = patterns.draw(rng, phrasings.CAPITAL, patterns.CAPITAL).format(c=self._spoken(c))
        self._about(c, "capital")
        return roughen(rng, question), self._thought(c), capital_answer(c)

    def _follow_up(self) -> tuple[str, str, str]:
        c = self._country()
        question = patterns.draw(self.rng, phrasings.FOLLOW_UP, patterns.FOLLOW_UP).format(c=self._spoken(c))
        self._about(c, "capital")
        return roughen(self.rng, question) if self.rng.random() < 0.7 else question, self._thought(c), capital_answer(c)

    @staticmethod
    def _thought(c: Country) -> str:
        return f"The user asks for the capital of {c.phrase}. It is {c.capital}".rstrip(".") + "."

    def _several(self) -> tuple[str, str, str]:
        """Two or three capitals at once."""
        group: list[Country] = []
        for _ in range(self.rng.choice((2, 2, 3))):
            group.append(self._country())
            self.cities.append(group[-1])
        self.last, self.topic = group[-1], "capital"
        templates = phrasings.SEVERAL_CAPITALS if len(group) > 2 else phrasings.TWO_CAPITALS
        first, second, third = (group + group)[:3]
        question = self.rng.choice(templates).format(c=first.phrase, e=second.phrase, f=third.phrase)
        told = [f"the capital of {c.phrase} is {c.capital}" for c in group]
        answer = ", ".join(told[:-1]) + ", and " + told[-1]
        thought = "Capitals: " + ", ".join(c.capital for c in group)
        return roughen(self.rng, question), sentence(thought), sentence(answer[0].upper() + answer[1:])

    def _is_capital(self) -> tuple[str, str, str]:
        c, rng = self._country(), self.rng
        right = rng.random() < 0.5
        claimed = c if right else rng.choice(COUNTRIES)
        right = claimed == c
        question = rng.choice(phrasings.IS_CAPITAL).format(k=claimed.capital, c=c.phrase)
        self._about(c, "capital")
        answer = sentence(f"{'Yes' if right else 'No'}, the capital of {c.phrase} is {c.capital}")
        return roughen(rng, question), self._thought(c), answer

    def _reverse(self) -> tuple[str, str, str]:
        c, rng = self._country(), self.rng
        if c.name == c.capital:
            return self._capital()
        if self.topic == "reverse" and rng.random() < 0.3:
            template = patterns.draw(rng, phrasings.FOLLOW_UP, patterns.FOLLOW_UP)
        else:
            template = patterns.draw(rng, phrasings.REVERSE, patterns.REVERSE)
        question = template.format(k=c.capital, c=c.capital)
        self._about(c, "reverse")
        thought = f"{c.capital} is the capital of {c.phrase}."
        return roughen(rng, question), thought, thought

    # Populations

    def _population(self) -> tuple[str, str, str]:
        c = self._country()
        question = patterns.draw(self.rng, phrasings_size.POPULATION, patterns.POPULATION).format(k=c.capital)
        self._about(c, "population")
        return roughen(self.rng, question), f"{c.capital} has about {people(c.millions)} people.", population_answer(c)

    def _population_follow_up(self) -> tuple[str, str, str]:
        c = self._country()
        if c.name == c.capital:
            return self._population()
        question = patterns.draw(self.rng, phrasings.FOLLOW_UP, patterns.FOLLOW_UP).format(c=c.capital)
        self._about(c, "population")
        return roughen(self.rng, question), f"{c.capital} has about {people(c.millions)} people.", population_answer(c)

    def _population_of_it(self) -> tuple[str, str, str]:
        c = self.last
        assert c is not None
        self.topic = "population"
        question = roughen(self.rng, self.rng.choice(phrasings_size.POPULATION_IT))
        return question, f"This is about {c.capital}: about {people(c.millions)} people.", population_answer(c)

    def _comparable(self) -> list[Country]:
        """The last two to four cities, when they differ and none is within a fifth of another's size."""
        distinct = len(set(self.cities))
        for n in self.rng.sample((2, 3, 3, 4), 4):
            group = self.cities[-n:]
            if n <= len(self.cities) and len(set(group)) == n and (distinct == n or self.rng.random() < 0.45):
                sizes = sorted(c.millions for c in group)
                if all(a * 1.2 <= b for a, b in itertools.pairwise(sizes)):
                    return group
        return []

    def _compare(self, group: list[Country]) -> tuple[str, str, str]:
        rng, n = self.rng, NUMBERS[len(group)]
        named = len(set(self.cities))
        self.topic = "compare"
        sizes = "Populations: " + ", ".join(f"{c.capital} {people(c.millions)}" for c in group) + ". "
        if rng.random() < 0.08 and named == len(group):
            ranked = sorted(group, key=lambda c: -c.millions)
            words = ", ".join(f"{c.capital} ({people(c.millions)})" for c in ranked)
            question = roughen(rng, rng.choice(phrasings_size.RANK).format(n=n))
            return question, sizes.strip(), f"From largest to smallest: {words}."
        largest = rng.random() < 0.56
        templates = phrasings_size.LARGEST if largest else phrasings_size.SMALLEST
        if named != len(group):  # without the number nobody could tell which cities are meant
            templates = [t for t in templates if "{n}" in t]
        if len(group) == 2 and rng.random() < 0.5:
            templates = phrasings_size.LARGER_OF_TWO if largest else phrasings_size.SMALLER_OF_TWO
            if named != 2:
                templates = ["Which of the two is bigger?" if largest else "Which of the two is smaller?"]
        else:
            templates = [t for t in templates if not any(w in t for w in ("bigger", "smaller", "larger"))]
            template = patterns.draw(rng, templates, patterns.LARGEST if largest else patterns.SMALLEST)
            if named == len(group) or "{n}" in template:
                templates = [template]
        best = (max if largest else min)(group, key=lambda c: c.millions)
        word = ("larger" if largest else "smaller") if len(group) == 2 else "largest" if largest else "smallest"
        self.last = best
        answer = f"The {word} of the {n} is {best.capital}, with about {people(best.millions)} people."
        question = roughen(rng, rng.choice(templates).format(n=n))
        return question, sizes + sentence(f"The {word} is {best.capital}"), answer

    def _pair(self) -> tuple[Country, Country]:
        while True:
            a = self._country()
            b = self._country()
            if a != b and max(a.millions, b.millions) >= 1.2 * min(a.millions, b.millions):
                return a, b

    def _larger(self) -> tuple[str, str, str]:
        a, b = self._pair()
        question = self.rng.choice(phrasings_size.LARGER_OF_NAMED).format(a=a.capital, b=b.capital)
        big, small = (a, b) if a.millions > b.millions else (b, a)
        self.cities += [a, b]
        self.last, self.topic = big, "compare"
        thought = f"Populations: {a.capital} {people(a.millions)}, {b.capital} {people(b.millions)}."
        return roughen(self.rng, question), thought, self._versus(big, small)

    @staticmethod
    def _versus(big: Country, small: Country) -> str:
        rest = f"{small.capital} has about {people(small.millions)}."
        return f"The larger city is {big.capital}, with about {people(big.millions)} people. {rest}"

    def _is_larger(self) -> tuple[str, str, str]:
        a, b = self._pair()
        question = self.rng.choice(phrasings_size.IS_LARGER).format(a=a.capital, b=b.capital)
        yes = a.millions > b.millions
        big, small = (a, b) if yes else (b, a)
        self.cities += [a, b]
        self.last, self.topic = big, "compare"
        thought = f"Populations: {a.capital} {people(a.millions)}, {b.capital} {people(b.millions)}."
        return roughen(self.rng, question), thought, f"{'Yes' if yes else 'No'}. {self._versus(big, small)}"

    def _confirm(self) -> str:
        rest = self.last_answer
        for start in ("Yes, ", "No, ", "Yes. ", "No. "):
            rest = rest.removeprefix(start)
        return "Yes, I am sure. " + rest[0].upper() + rest[1:] if not rest.startswith("Yes, I am sure") else rest

    # Everything else

    def _topic(self) -> tuple[str, str, str]:
        rng = self.rng
        if rng.random() < 0.13:
            question, answer = rng.choice(answers.EXPLAIN_VERSUS), answers.VERSUS
            thought = "The user wants a comparison of NVFP4 and MXFP4."
        else:
            key = rng.choices(tuple(answers.TOPICS), (5, 5, 2, 4, 3, 1.5, 2, 1, 1, 1))[0]
            answer, names, subject = answers.TOPICS[key]
            templates = answers.EXPLAIN if self.topic == "topic" else answers.EXPLAIN[:-5]
            question, thought = rng.choice(templates).format(t=rng.choice(names)), f"The user asks about {subject}."
        self.topic, self.last = "topic", None
        return roughen(rng, question), thought, answer

    def _small_talk(self) -> tuple[str, str, str]:
        questions, answer, thought = self.rng.choice(small_talk.SMALL_TALK)
        question = self.rng.choice(questions)
        self.topic, self.last = "talk", None
        if "😀" in question or not question.isascii():
            return question, thought, answer
        return roughen(self.rng, question), thought, answer

    def _decline(self) -> tuple[str, str, str]:
        question, thought, answer = decline(self.rng)
        self.topic, self.last = "decline", None
        return roughen(self.rng, question), thought, answer

    def _count(self) -> tuple[str, str, str]:
        rng = self.rng
        end = rng.choice((100, 100, 100, 50, 30, 20, 10, 5, rng.randrange(2, 101)))
        self.topic, self.last = "count", None
        question = rng.choice(phrasings.COUNT).format(n=end)
        return question, f"I count from 1 to {end}.", ", ".join(map(str, range(1, end + 1)))

    def _chinese(self) -> tuple[str, str, str]:
        rng = self.rng
        group = self.cities[-3:] if len(set(self.cities)) == 3 == len(self.cities) else []
        sizes = sorted(c.millions for c in group)
        if group and sizes[1] * 1.2 <= sizes[2] and rng.random() < 0.4:
            best = max(group, key=lambda c: c.millions)
            question = rng.choice(phrasings_chinese.CHINESE_LARGEST).format(m=CHINESE_NUMBERS[3])
            return question, "三个城市比人口。", f"人口最多的是{best.chinese_capital}。"
        if rng.random() < 0.18:
            return self._small_talk()
        c = rng.choice([c for c in _CHINESE if c not in self.cities[-3:]])
        if rng.random() < 0.15 and c.chinese != c.chinese_capital:
            question = rng.choice(phrasings_chinese.CHINESE_REVERSE).format(y=c.chinese_capital)
            self._about(c, "capital")
            return question, f"{c.chinese_capital}是{c.chinese}的首都。", f"{c.chinese_capital}是{c.chinese}的首都。"
        following = self.cities and rng.random() < 0.5
        templates = phrasings_chinese.CHINESE_FOLLOW_UP if following else phrasings_chinese.CHINESE_CAPITAL
        self._about(c, "capital")
        question = rng.choice(templates).format(z=c.chinese)
        return question, f"用户问{c.chinese}的首都。", f"{c.chinese}的首都是{c.chinese_capital}。"


assert set(ALIASES.values()) <= set(BY_NAME)
