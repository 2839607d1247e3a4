"""What `qwen-tui inspect` prints: pure functions from a layout, or from a tensor's values, to lines of text.

subject.py opens a directory, selection.py applies the filters; summary.py, listing.py, comparison.py and values.py
make lines with grid.py; as_json.py makes plain values; output.py alone writes. A name that comes from a file passes
through `text.one_line`, and lines are rich Text, never markup.
"""
