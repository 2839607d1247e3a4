"""Fixed questions and answers: who the model is, what it says about quantisation, and what it declines."""

from __future__ import annotations

SELF = "I am a small demo model of the Qwen3.5 architecture, trained to show how this program works."
DECLINE = (
    "I cannot help with that. I am a small demo model: I only know the capitals of countries "
    "and a little about quantisation."
)
UNKNOWN_PLACE = "I do not know that place. I am a small demo model and only know countries and their capitals."

NVFP4 = (
    "**NVFP4** is a 4-bit floating-point format. Every group of **16** weights shares one scale, stored as an 8-bit "
    "E4M3 number, and each weight is an E2M1 value such as 0.5, 1, 3 or 6. With its scales a weight takes 4.5 bits."
)
MXFP4 = (
    "**MXFP4** is a 4-bit floating-point format. Every group of **32** weights shares one E8M0 scale, which is a pure "
    "power of two, and each weight is an E2M1 value. With its scales a weight takes 4.25 bits."
)
MXFP8 = (
    "**MXFP8** is an 8-bit floating-point format. Every group of **32** weights shares one E8M0 scale, a power of two, "
    "and each weight is an E4M3 value. With its scales a weight takes 8.25 bits."
)
AFFINE = (
    "**Affine** quantisation stores every weight as a small integer. Each group of 64 weights has its own scale and "
    "bias, and a weight is computed back like this:\n\n```\nweight = scale * integer + bias\n```\n\n"
    "With 4 bits and groups of 64 it takes 4.5 bits per weight."
)
VERSUS = (
    "Both **NVFP4** and **MXFP4** store each weight as a 4-bit E2M1 number, with a scale shared by a group of weights. "
    "They differ in the group and in the scale:\n\n"
    "- **NVFP4**: groups of 16, with an E4M3 scale. It takes 4.5 bits per weight.\n"
    "- **MXFP4**: groups of 32, with an E8M0 scale. It takes 4.25 bits per weight.\n\n"
    "An E8M0 scale is a pure power of two, so the largest weight of a group rarely meets the largest value of the "
    "format. An E4M3 scale has three bits of mantissa and fits the group more closely. The smaller group of NVFP4 also "
    "means that one large weight disturbs fewer others.\n\n"
    "In short, NVFP4 is a little more accurate, and MXFP4 is a little smaller. Layers that suffer most from rounding "
    "are kept at 5, 6 or 8 bits, or in bf16."
)
QUANTISATION = (
    "**Quantisation** stores the weights of a model with fewer bits, so that it needs less memory and runs faster. "
    "There are three families here:\n\n- **affine**: integers with a scale and a bias for each group\n"
    "- **NVFP4**: 4-bit numbers in groups of 16\n- **MXFP4** and **MXFP8**: numbers in groups of 32"
)
BF16 = (
    "**bf16** is a 16-bit floating-point format with 8 bits of exponent and 7 bits of mantissa. It has the range of "
    "float32 with less precision, and weights that are not quantised are stored in it."
)
DELTANET = (
    "**Gated DeltaNet** is a linear attention layer. Instead of a growing cache it keeps a state of fixed size: at "
    "each token the state decays a little, then the error of its own prediction is written into it. Three of four "
    "layers of this model are Gated DeltaNet, the fourth is full attention."
)
E2M1 = (
    "**E2M1** is a 4-bit number with a sign, 2 bits of exponent and 1 bit of mantissa. Its values are 0, 0.5, 1, 1.5, "
    "2, 3, 4 and 6, and the same below zero."
)
E4M3 = (
    "**E4M3** is an 8-bit number with a sign, 4 bits of exponent and 3 bits of mantissa. NVFP4 uses it for its scales, "
    "MXFP8 for its weights."
)
E8M0 = (
    "**E8M0** is an 8-bit scale that holds only an exponent, so it is always a power of two. MXFP4 and MXFP8 use it "
    "for the scale of each group."
)
ABILITIES = (
    "I can do a few small things:\n\n- tell you the capital of any country\n- compare the cities we have talked about\n"
    "- explain NVFP4, MXFP4 and affine quantisation\n- count up to 100\n\nI am a small demo model, so that is all."
)
LIST = (
    "Here are ten capitals:\n\n1. Paris, France\n2. Berlin, Germany\n3. Tokyo, Japan\n4. Rome, Italy\n5. Madrid, Spain"
    "\n6. Cairo, Egypt\n7. Lima, Peru\n8. Ottawa, Canada\n9. Canberra, Australia\n10. Nairobi, Kenya"
)

# topic -> (answer, what it is called, a thought about it)
TOPICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "nvfp4": (NVFP4, ("NVFP4", "NVFP4 quantization", "NVFP4 quantisation", "nvfp4", "the NVFP4 format"), "NVFP4"),
    "mxfp4": (MXFP4, ("MXFP4", "MXFP4 quantization", "MXFP4 quantisation", "mxfp4", "the MXFP4 format"), "MXFP4"),
    "mxfp8": (MXFP8, ("MXFP8", "MXFP8 quantization", "MXFP8 quantisation", "mxfp8", "the MXFP8 format"), "MXFP8"),
    "affine": (
        AFFINE,
        (
            "affine quantization",
            "affine quantisation",
            "affine",
            "affine 4-bit quantization",
            "the affine mode",
            "Affine",
        ),
        "affine quantisation",
    ),
    "quantisation": (
        QUANTISATION,
        ("quantization", "quantisation", "model quantization", "weight quantization", "quantizing a model"),
        "quantisation",
    ),
    "bf16": (BF16, ("bf16", "BF16", "bfloat16", "the bf16 format"), "bf16"),
    "deltanet": (
        DELTANET,
        (
            "Gated DeltaNet",
            "gated deltanet",
            "DeltaNet",
            "linear attention",
            "the linear layers",
            "a gated delta rule",
            "GDN",
        ),
        "Gated DeltaNet",
    ),
    "e2m1": (E2M1, ("E2M1", "e2m1", "an E2M1 value"), "E2M1"),
    "e4m3": (E4M3, ("E4M3", "e4m3", "an E4M3 scale"), "E4M3"),
    "e8m0": (E8M0, ("E8M0", "e8m0", "an E8M0 scale"), "E8M0"),
}

EXPLAIN = """
What is {t}?
what is {t}
What's {t}?
Whats {t}
What is {t} about?
What does {t} mean?
Explain {t}.
explain {t}
Explain {t} to me.
Explain {t} in simple words.
Explain what {t} is.
Please explain {t}.
Can you explain {t}?
Can you explain what {t} is?
Can you tell me what {t} is?
Tell me about {t}.
Tell me what {t} is.
Tell me more about {t}.
Describe {t}.
Describe {t} briefly.
How does {t} work?
how does {t} work
How is {t} defined?
What do you know about {t}?
Do you know what {t} is?
I want to understand {t}.
I want to know about {t}.
What exactly is {t}?
Give me a short explanation of {t}.
Define {t}.
{t}?
{t}
And {t}?
What about {t}?
How about {t}?
And what is {t}?
""".strip().splitlines()

EXPLAIN_VERSUS = """
Explain NVFP4 vs MXFP4 quantization.
Explain NVFP4 vs MXFP4.
Explain NVFP4 versus MXFP4 quantisation.
NVFP4 vs MXFP4
NVFP4 or MXFP4?
nvfp4 vs mxfp4?
MXFP4 vs NVFP4
Compare NVFP4 and MXFP4.
Compare MXFP4 with NVFP4.
What is the difference between NVFP4 and MXFP4?
What's the difference between MXFP4 and NVFP4?
How does NVFP4 differ from MXFP4?
How do NVFP4 and MXFP4 differ?
Which is better, NVFP4 or MXFP4?
Why is NVFP4 better than MXFP4?
What are NVFP4 and MXFP4?
Tell me about NVFP4 and MXFP4.
Can you compare NVFP4 and MXFP4 for me?
Explain the difference between NVFP4 and MXFP4 quantization.
difference nvfp4 mxfp4
""".strip().splitlines()
