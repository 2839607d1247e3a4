"""Tokenizer, chat template in a process of its own, ids of a conversation, the reasoning and tool-call splitter."""
