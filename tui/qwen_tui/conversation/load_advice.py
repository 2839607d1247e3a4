"""What can be done where a model could not be loaded, as lines for the transcript. Pure."""

from qwen_core.protocol.events import LoadFailed


def load_advice(failed: LoadFailed) -> str:
    """One line for each way on, the likeliest to help first."""
    ways = [(f"/dtype {name}", f"compute in {name}, whose weights fit into memory") for name in failed.dtypes[:1]]
    ways += [
        ("/model", "open another model, this conversation goes on"),
        ("F2 or /inspect", "look at its layers, as far as its files can be read"),
        ("Ctrl+T", "load it again, once what is wrong was put right"),
    ]
    return "\n".join(["What you can do:", *(f"{key}: {what}" for key, what in ways)])
