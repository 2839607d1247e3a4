"""Phrasings by the thousand: patterns with alternatives in brackets, one of which is drawn each time.

The lists of `phrasings.py` alone taught the model where in those sentences a name stands, not what a name is: asked in
words it had not seen, it answered about another city. A pattern gives one meaning in many wordings, so that only the
name stays the same. What comes out equal to a phrasing kept for the evaluation, or contains one, is drawn again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from . import held_out

_HAS = "{k} as its capital|{k} as capital city|{k} for its capital|its government in {k}|a capital called {k}"
_OF = "whose capital is {k}|with {k} as its capital|that has {k} as its capital|of which {k} is the capital"
_ASK = "Can you tell me|Could you tell me|Would you tell me|Can you say|Do you know|Do you happen to know"
_WISH = "Tell me|Please tell me|Let me know|I wonder|I want to know|I would like to know|I forgot|Remind me|Say"
_MUST = "should|must|do|would"

REVERSE = f"""
[Which|What] [country|nation|state] has [{_HAS}]?
[Which|What] [country|nation|state] [is governed from {{k}}|has its capital at {{k}}|chose {{k}} as its capital]?
[Name|Tell me|Give me|Find|Guess|Please name|I need] the [country|nation|state] [{_OF}].
[What is|What's|Which is] the [country|nation|state] [{_OF}]?
[What is|What's] the name of the [country|nation|state] [{_OF}]?
[{_ASK}] [which|what] [country|nation|state] {{k}} [is the capital of|is in|belongs to|is the capital city of]?
[{_ASK}] [which|what] [country|nation] [is governed from {{k}}|has {{k}} for its capital|has the capital {{k}}]?
[{_WISH}] [which|what] [country|nation|state] {{k}} [is the capital of|is in|belongs to|is the capital city of].
[{_WISH}] [which|what] [country|nation] [is governed from {{k}}|has {{k}} for its capital|has the capital {{k}}].
{{k}} is the [capital|seat of government|main city] of [which|what] [nation|state|place|land]?
{{k}} is the capital city of [what|which nation|which state|what nation]?
[If|When|Suppose] I [visit|fly to|go to|land in] {{k}}, [which|what] country [am I in|is it the capital of]?
[Which|What] country [should|must|do|would] I [travel to|go to|fly to] [to see|if I want to see|for] {{k}}?
[Which|What] country [{_MUST}] I visit [if I want to see|for] [the capital|the city of|its main city] {{k}}?
To see {{k}}, [which|what] [country|nation] [should I visit|do I go to|must I travel to]?
The [country|nation|state] [with|that has|having] {{k}} as [its|the] capital is [which|called what|named]?
There is a [capital|city|town] called {{k}}. [Which|What] country [is it in|has it|does it belong to]?
My [map|book|quiz|postcard|teacher|atlas] [says|names|mentions|shows] {{k}}. [Which|What] country is [that|it] in?
{{k}}, [capital of|the capital of|the capital city of] [which|what] [country|nation]?
Somebody [lives|works|was born] in the capital {{k}}. [Which|What] country is that?
[Which|What] country's [government|parliament|president|king] sits in {{k}}?
[From|In|Of] [which|what] country is the capital {{k}}?
""".strip().splitlines()

_FIRST = "Fine|Good|Okay|OK|Right|Great|Nice|Cool|Thanks|Alright|Super|Sure|Hm|Got it"
FOLLOW_UP = f"""
[Same|The same|Ditto|Likewise|Again] [for|with|of] {{c}}[| please|, please|, thanks| thx|, now]
[same|the same|ditto] [question for|thing for|with] {{c}}[| pls| plz| please| thx]
[how|and what|and how] [about|abt] {{c}}[| pls| thx| now| then]
[{_FIRST}][.|,|!] [and|now|then|next:|also] {{c}}[.|?]
[{_FIRST}][.|!] {{c}} [now|then|too|please|as well][.|?]
[Next|Next up|Next is|Then comes|Now comes][:|] {{c}}[.|]
{{c}} [now|too|as well|please|next time|after that][.|?]
[I'd like|I need|I want|Give me|Show me|Take|Do] {{c}} [too|as well|now|next|then|please].
[Could|Can|Would|Will] you [tell me {{c}} too|take {{c}} now|add {{c}}|go on with {{c}}]?
[And|But|So|Then] [for|in|with|what about|how about] {{c}}[?|, please?| then?| now?]
[Let's|Let us|Please] [take|go on with|continue with|move on to|try] {{c}}[.| now.| then.]
[What|How] [would it be|is it|does it look] [in|with|in the case of] {{c}}?
[Tell me|Give me|Say|Name] [the one|the same|it] [of|for] {{c}}[.| too.| now.| please.]
""".strip().splitlines()

CAPITAL = f"""
[{_ASK}] [what|which city] the capital of {{c}} is?
[{_ASK}] [what|which city] is the capital [in|of] {{c}}?
[{_WISH}] [what|which city] the capital of {{c}} is.
[{_WISH}] the [capital|capital city|seat of government] of {{c}}.
[{_FIRST}][,|.|!] [what is|what's|tell me|name] the capital of {{c}}[?|.|]
[My|Our|The] [quiz|teacher|book|test|puzzle|sister] asks [for|about] the capital [city of|of] {{c}}[.|?]
[If|When|Suppose] I [visit|fly to|go to] {{c}}, what is the [capital|capital city] [there|called]?
[In|Of|For] {{c}}, [which|what] [town|city|place] is [the capital|the seat of government]?
[Which|What] [city|town|place] [does {{c}} have as its capital|is home to the government of {{c}}|governs {{c}}]?
[I have|Here is|Now] [a short|an easy|a simple] [one|question]: [the capital of {{c}}|{{c}} and its capital]?
Think of {{c}}. [What is|What's|Name] its capital[?|.| city?]
[The|What is the] [name of the capital|capital's name] [of|in] {{c}}?
[What|How] is the capital of {{c}} [called|named]?
""".strip().splitlines()

_LEAST = "fewest people|fewest inhabitants|smallest population|lowest number of people|smallest number of people"
_MOST = "most people|most inhabitants|largest population|highest number of people|biggest population"
_SIZES = """
Which [of|one of|among] [those|these|the] {{n}} [capitals|places|towns|cities] [has|got] the [{more}]?
Which of [those|these|the] {{n}} [capitals|places|towns|cities] is [the {best}|{best} in population|the {best} one]?
[Out of|From|Among|Of|Amongst] [those|these|the|all] {{n}}, which [one has|has|city has] the [{more}]?
[Out of|From|Among|Of|Amongst] [the|all|those] {{n}}, which [one is|is|city is] the {best}[?| one?| by people?]
Which [city|capital|place|one] [of|among|out of] [those|these|the] {{n}} is [the {best}|{best}|the {best} by size]?
Which [city|capital|place|one] [of|among|out of] [those|these|the] {{n}} has the [{more}]?
[By|In|Going by] [population|people|inhabitants], which of [the|those|these] {{n}} is [the {best}|{best}]?
[{ask}] which of [the|those|these] {{n}} [is the {best}|has the [{more}]]?
[Please tell me|Tell me|Say|Name] the {best} [of|among|out of] [the|those|these] {{n}}[.| cities.| capitals.]
[Where|In which of the {{n}}|In which of them] do the {count} people live?
[Which|Which city|Which one|Which capital] has the {level} population?
[Which|Which city|Which one] [of|among] them has the [{more}]?
""".strip()
LARGEST = _SIZES.format(more=_MOST, best="[largest|biggest]", count="most", level="[highest|largest]", ask=_ASK)
LARGEST = LARGEST.splitlines()
SMALLEST = _SIZES.format(more=_LEAST, best="[smallest|littlest]", count="fewest", level="[lowest|smallest]", ask=_ASK)
SMALLEST = SMALLEST.splitlines()

POPULATION = """
[About how many|Around how many|Approximately how many|How many] [people|inhabitants|persons] [are in|has|live in] {k}?
[What is|What's|Tell me|Give me|Say] the [size of the population|number of inhabitants|headcount] of {k}[?|.]
[Can you|Could you|Would you] [tell me|say] [how many people live in {k}|how big {k} is|the size of {k}]?
[I wonder|I want to know|Let me know] how [many people live in {k}|big {k} is|populous {k} is].
""".strip().splitlines()

_INNER = re.compile(r"\[([^\[\]]*)\]")


def fill(rng: random.Random, pattern: str) -> str:
    """The pattern with one alternative of each bracket drawn, the innermost first; `{c}` and the like stay."""
    while found := _INNER.search(pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    return pattern


def _plain(template: str) -> str:
    return " " + held_out.normalise(template.replace("{n}", "three")) + " "


_KEPT = tuple(_plain(t) for t in (
    *held_out.CAPITAL, *held_out.FOLLOW_UP, *held_out.REVERSE, *held_out.LARGEST, *held_out.SMALLEST,
    *held_out.POPULATION,
))  # fmt: skip


def kept_out(template: str) -> bool:
    """Whether the template is one of the evaluation's, or holds one with words around it."""
    plain = _plain(template)
    return any(kept in plain for kept in _KEPT if len(kept.split()) > 2) or plain in _KEPT


def draw(rng: random.Random, listed: Sequence[str], patterns: Sequence[str]) -> str:
    """A template: half the time one of the list, else one of a pattern, never one that was kept out."""
    if rng.random() < 0.5:
        return rng.choice(listed)
    while True:
        template = fill(rng, rng.choice(patterns))
        if not kept_out(template):
            return template
