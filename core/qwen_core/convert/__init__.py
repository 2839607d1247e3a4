"""From a Hugging Face checkpoint to a quantised one: what is decided, what is computed, how it is written.

    rules.py, rules_file.py   which weight gets which format: the recipes, and a person's own rules in TOML
    plan.py                   every tensor of the result with its name, type, shape and bytes, from headers alone
    shards.py                 the order of tensors in shards, and headers that put them on aligned places
    imatrix.py, awq.py        the importance of input channels, and folding it into weights and norms
    gguf_bounds.py            whether the headers of an importance matrix can be true
    transform.py              one tensor's bytes through MLX, a few megabytes at a time
    writer.py                 shards on disk in a temporary directory that becomes the result when it is complete
    convert.py, realign.py    the two commands made of these
    add_mtp.py                the MTP layer of an original into a file beside a model that lacks it
    found_folds.py            what importance was folded into a model, found again
    quality.py                how far a model's predictions are from those of its original
    alignment.py              what aligning an existing checkpoint would bring

Only transform.py, convert.py, add_mtp.py, found_folds.py and quality.py need MLX; importing this package costs nothing.
"""
