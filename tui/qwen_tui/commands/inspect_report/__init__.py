"""What `qwen-tui inspect` prints: from a layout, or from a tensor's values, to tables and lines, or to plain values.

subject.py opens a directory, selection.py applies the filters; summary.py, listing.py, comparison_lines.py and
values.py say what report.py draws; as_json.py and value_fields.py make plain values.
"""
