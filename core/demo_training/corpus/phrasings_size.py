"""The ways people ask for populations and compare cities, as far as training goes.

In a template `{k}`, `{a}` and `{b}` are capitals, `{n}` is how many there are in words ("three").
"""

from __future__ import annotations

POPULATION = """
What is the population of {k}?
What's the population of {k}?
How many people live in {k}?
How many people are there in {k}?
How many inhabitants does {k} have?
How big is {k}?
How large is {k}?
How large is the population of {k}?
population of {k}
{k} population?
{k}'s population?
Tell me the population of {k}.
Tell me how many people live in {k}.
Do you know how many people live in {k}?
Can you tell me the population of {k}?
How populous is {k}?
How many people does {k} have?
And how many people live in {k}?
And what is the population of {k}?
Number of inhabitants of {k}?
""".strip().splitlines()

POPULATION_IT = """
What is its population?
And its population?
its population?
How many people live there?
how many people live there
And how many people live there?
How big is it?
How large is that city?
How many inhabitants does it have?
What's the population there?
And the population?
How many live there?
How populous is it?
Population?
What is the population of that city?
How big is this city?
""".strip().splitlines()

LARGEST = """
Which of those {n} cities has the largest population?
Which of these {n} cities has the largest population?
Which of those {n} has the largest population?
Which of the {n} cities has the largest population?
Which of the {n} has the most people?
Which one of the {n} is the largest?
Which one has the largest population?
Which has the largest population?
Which of them has the largest population?
Which of them is the largest?
Which of them is the biggest?
which of them is biggest
Which of those cities is the largest?
Which of these cities is the biggest?
Which of those {n} is biggest?
Which is the biggest of the {n}?
Which is the largest of them?
Which is the largest?
which is biggest?
Which one is the biggest?
Which one is bigger?
Which is bigger?
Which is the most populous?
Which of those {n} cities is the most populous?
Which of the {n} cities has the most inhabitants?
Which of those cities has most people?
Which city has the largest population of the {n}?
Which city is the biggest?
Which city has the most people?
What is the largest of those {n} cities?
What's the biggest of these {n}?
What is the most populous of these cities?
Of those {n}, which is the largest?
Of those {n} cities, which has the biggest population?
Of these, which one has the most people?
Among those {n} cities, which one is the largest?
Among them, which has the largest population?
Tell me which of the {n} is the largest.
Tell me the biggest of those {n} cities.
Where do the most people live?
In which of those {n} cities do the most people live?
Do you know which of them is the largest?
And which of those {n} cities has the largest population?
And which one is the largest?
So which is the biggest?
Name the largest of the {n}.
The biggest of them?
the largest one?
Compare them: which is the largest?
Now compare those {n} cities. Which one is the biggest?
""".strip().splitlines()

SMALLEST = """
Which of those {n} cities has the smallest population?
Which of these {n} cities has the smallest population?
Which of the {n} has the fewest people?
Which one of the {n} is the smallest?
Which one has the smallest population?
Which has the smallest population?
Which of them has the smallest population?
Which of them is the smallest?
which of them is smallest
Which of those cities is the smallest?
Which is the smallest of the {n}?
Which is the smallest?
which is smallest?
Which one is the smallest?
Which is the least populous?
Which of those {n} cities is the least populous?
Which of the {n} cities has the fewest inhabitants?
Which city is the smallest?
Which city has the fewest people?
What is the smallest of those {n} cities?
What's the smallest of these {n}?
Of those {n}, which is the smallest?
Of these, which one has the fewest people?
Among those {n} cities, which one is the smallest?
Among them, which has the smallest population?
Tell me which of the {n} is the smallest.
And which is the smallest?
And the smallest?
and the smallest one?
And which one has the smallest population?
Where do the fewest people live?
Name the smallest of the {n}.
Which one is smaller?
Which is smaller?
""".strip().splitlines()

LARGER_OF_NAMED = """
Which is bigger, {a} or {b}?
Which is larger, {a} or {b}?
Which city is bigger, {a} or {b}?
Which has more people, {a} or {b}?
Which has the larger population, {a} or {b}?
{a} or {b}, which is larger?
{a} or {b}: which is bigger?
What is bigger, {a} or {b}?
Where do more people live, in {a} or in {b}?
Does {a} or {b} have more people?
Between {a} and {b}, which is bigger?
Compare {a} and {b}.
Compare the populations of {a} and {b}.
""".strip().splitlines()

IS_LARGER = """
Is {a} bigger than {b}?
Is {a} larger than {b}?
Does {a} have more people than {b}?
Is the population of {a} larger than that of {b}?
Has {a} more inhabitants than {b}?
Are there more people in {a} than in {b}?
Do more people live in {a} than in {b}?
""".strip().splitlines()

RANK = """
Sort them by population.
Rank them by population.
Rank those {n} cities by population.
Sort the {n} cities by size.
Order them from largest to smallest.
List them from largest to smallest.
Put the {n} cities in order of population.
Rank the {n}.
""".strip().splitlines()

LARGER_OF_TWO = ["Which one is bigger?", "Which is bigger?", "Which is larger?", "Which one is larger?"]
SMALLER_OF_TWO = ["Which one is smaller?", "Which is smaller?"]
