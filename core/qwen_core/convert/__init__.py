"""From a Hugging Face checkpoint to a quantised one: what is decided, what is computed, how it is written.

    rules.py, rules_file.py   which weight gets which format: the recipes, and a person's own rules in TOML
    plan.py                   every tensor of the result with its name, type, shape and bytes, from headers alone
    shards.py                 the order of tensors in shards, and headers that put them on aligned places
    imatrix.py, awq.py        the importance of input channels, and folding it into weights and norms
    imatrix_dat.py            importance matrices in the older format
    gguf_bounds.py            whether the headers of an importance matrix can be true
    fold_search.py            how much of it to fold in, by the error of the quantised weights
    rounding.py               weights rounded by our own arithmetic, ranges and scales chosen by their error
    measure.py                what rounding costs each weight while it is written
    candidates.py, budget.py  what every format would cost every weight, and the best formats for a budget
    budget_words.py           budgets as people write them
    fitted_rules.py           the rules of such a choice, and its recipe as text
    planned_layout.py         the layout of a result that is not there yet
    meter.py                  progress in bytes
    transform.py              one tensor's bytes through MLX, a few megabytes at a time
    writer.py                 shards on disk in a temporary directory that becomes the result when it is complete
    convert.py, realign.py    the two commands made of these
    add_mtp.py                the MTP layer of an original into a file beside a model that lacks it
    found_folds.py            what importance was folded into a model, found again
    reference_errors.py       what rounding cost a model that does not say it
    quality.py                how far a model's predictions are from those of its original
    alignment.py              what aligning an existing checkpoint would bring

Plans, rules and layouts need no MLX; what touches values does. Importing this package costs nothing.
"""
