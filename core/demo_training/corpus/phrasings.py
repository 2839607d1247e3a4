"""The ways people ask for capitals, as far as training goes; `phrasings_size.py` and `phrasings_chinese.py` go on.

`held_out.py` has the phrasings training never sees. In a template `{c}`, `{e}` and `{f}` are countries as they stand
in a sentence ("the Netherlands"), `{d}` is a demonym, `{k}` a capital.
"""

from __future__ import annotations

CAPITAL = """
What is the capital of {c}?
What's the capital of {c}?
Whats the capital of {c}
what is {c}'s capital?
What is the capital city of {c}?
What's {c}'s capital city?
Which city is the capital of {c}?
Which city is {c}'s capital?
What city is the capital of {c}?
Tell me the capital of {c}.
Tell me {c}'s capital.
Please tell me the capital of {c}.
Can you tell me the capital of {c}?
Could you tell me the capital of {c}?
Could you tell me what the capital of {c} is?
Can you tell me what {c}'s capital is?
Do you know the capital of {c}?
Do you know what the capital of {c} is?
Do you happen to know {c}'s capital?
I want to know the capital of {c}.
I need the capital of {c}.
I'd like to know what the capital of {c} is.
I forgot the capital of {c}.
Name the capital of {c}.
Name {c}'s capital.
Give me the capital of {c}.
Give me the capital city of {c}.
Capital of {c}?
capital of {c}
capital city of {c}
{c}'s capital?
{c} capital
{c}, capital?
the capital of {c}?
The capital of {c} is?
The capital of {c} is
The capital of {c} is called what?
{c}'s capital is which city?
{c} has which capital?
What capital does {c} have?
Which capital does {c} have?
What is the name of the capital of {c}?
What's the name of {c}'s capital city?
What do you call the capital of {c}?
Where is the capital of {c}?
Where is the government of {c} seated?
Which city is the seat of government of {c}?
Which is the capital of {c}?
If I travel to {c}, what is the capital there?
I am travelling to {c}. What is its capital?
I live in {c}. What is my capital?
My friend is from {c}. What is the capital there?
Quiz: capital of {c}?
Geography question: what is the capital of {c}?
Quick question, what's the capital of {c}?
For my homework: what is the capital of {c}?
Remind me what the capital of {c} is.
Let me know the capital of {c}.
What would be the capital of {c}?
Any idea what the capital of {c} is?
In {c}, which city is the capital?
In {c}, what is the capital?
As for {c}, what is the capital?
Speaking of {c}, what's the capital?
Find the capital of {c}.
Look up the capital of {c}.
Say the capital of {c}.
Capital for {c}?
Capital in {c}?
Answer in one word: what is the capital of {c}?
One word only: capital of {c}?
{c}: what is the capital?
{c} - capital?
What is the main city, the capital, of {c}?
Hey, capital of {c}?
Which town serves as capital of {c}?
What city serves as the capital of {c}?
Who knows the capital of {c}?
What's the capital in {c}?
Is there a capital of {c}? Which one?
I am learning capitals. What about the one of {c}?
Help me with the capital of {c}.
My question is about {c}: what is its capital?
Which city do they call the capital in {c}?
""".strip().splitlines()

DEMONYM = """
What is the {d} capital?
What's the {d} capital?
What is the {d} capital city?
Which city is the {d} capital?
Tell me the {d} capital.
Name the {d} capital.
the {d} capital?
{d} capital
Do you know the {d} capital?
Where is the {d} government?
""".strip().splitlines()

FOLLOW_UP = """
And {c}?
and {c}
What about {c}?
what about {c}
And what about {c}?
How about {c}?
And how about {c}?
And for {c}?
and for {c}
And of {c}?
And in {c}?
And the capital of {c}?
And the one of {c}?
And that of {c}?
And {c}'s?
{c}?
{c}
{c} then?
Then {c}?
Now {c}.
now {c}?
OK, and {c}?
ok and {c}?
Ok, {c}?
Great, and {c}?
Thanks. And {c}?
Thanks! What about {c}?
Nice. {c}?
Good, what about {c}?
Also {c}?
Also {c}, please.
Next, {c}.
What of {c}?
Same question for {c}.
The same for {c}?
And for {c}, what is it?
And what is it for {c}?
And what is the capital of {c}?
How is it with {c}?
Do {c} now.
Next one: {c}.
Try {c}.
Let's do {c}.
I also want to know about {c}.
Tell me about {c} too.
What's it for {c}?
""".strip().splitlines()

REVERSE = """
Which country has {k} as its capital?
What country has {k} as its capital?
Which country's capital is {k}?
{k} is the capital of which country?
{k} is the capital of what?
{k} is the capital of
What is {k} the capital of?
Which country is {k} the capital of?
Of which country is {k} the capital?
Which country is {k} in?
What country is {k} in?
In which country is {k}?
In which country is {k} located?
In what country can I find {k}?
Where is {k}?
Where is {k} located?
where's {k}
Tell me which country {k} belongs to.
To which country does {k} belong?
Do you know which country has the capital {k}?
What country's capital is {k}?
{k}: which country?
Name the country whose capital is {k}.
{k} belongs to which country?
{k} is in which country?
Whose capital is {k}?
I am in {k}. Which country is this?
I am flying to {k}. Which country is that?
What is {k}?
Tell me about {k}.
Which state has {k} for a capital?
What nation is governed from {k}?
Whose capital city is {k}?
{k} is whose capital?
Guess the country: its capital is {k}.
I know the capital, {k}, but what is the country?
{k} is the seat of government of which nation?
""".strip().splitlines()

IS_CAPITAL = """
Is {k} the capital of {c}?
Is the capital of {c} {k}?
is {k} {c}'s capital?
The capital of {c} is {k}, right?
{k} is the capital of {c}, isn't it?
So {k} is the capital of {c}?
Isn't {k} the capital of {c}?
I think {k} is the capital of {c}. Is that right?
""".strip().splitlines()

SURE = """
Are you sure?
are you sure
Are you sure about that?
Really?
Is that right?
Is that correct?
Is that true?
You sure?
Are you certain?
Can you check that again?
Is this correct?
I don't believe you.
Hm, really?
""".strip().splitlines()

TWO_CAPITALS = """
What are the capitals of {c} and {e}?
Tell me the capitals of {c} and {e}.
capitals of {c} and {e}
Name the capitals of {c} and {e}.
What is the capital of {c}, and of {e}?
What is the capital of {c} and what is the capital of {e}?
Give me the capitals of {c} and {e}, please.
The capitals of {c} and {e}?
""".strip().splitlines()

SEVERAL_CAPITALS = """
What are the capitals of {c}, {e} and {f}?
Tell me the capitals of {c}, {e} and {f}.
capitals of {c}, {e}, {f}
Name the capitals of {c}, {e}, and {f}.
What is the capital of {c}, of {e} and of {f}?
Give me the capitals of {c}, {e} and {f}.
""".strip().splitlines()

COUNT = """
Count from 1 to {n}.
Count to {n}.
count to {n}
Count up to {n}
Please count from 1 to {n}.
Can you count to {n}?
Write the numbers from 1 to {n}.
List the numbers from 1 to {n}.
count from 1 to {n}
Count from one to {n}, please.
Give me the numbers 1 to {n}.
""".strip().splitlines()

# Before and after any question.
OPENERS = [
    "Hi, ", "Hello! ", "Hey, ", "Hey! ", "Please, ", "OK, ", "Ok. ", "So, ", "Well, ", "Hi there. ", "Good morning! ",
    "Sorry, ", "Excuse me, ", "Now, ", "Alright, ", "Thanks. ", "Thank you! ", "Great. ", "Cool, ", "Dear model, ",
    "Another one: ", "Question: ", "Hmm, ", "Right, ", "Perfect. ", "By the way, ", "Just curious, ",
]  # fmt: skip
CLOSERS = [
    " Please.", " please", ", please?", " Thanks!", " thanks", " Thank you.", " Be brief.", " Answer briefly.",
    " One sentence.", " 😀", " :)", " Quick!", " I need it for school.", " Just the name.", " I forgot.",
]  # fmt: skip
