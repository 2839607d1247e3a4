"""Tokenizer, chat template in its sandbox, ids of a conversation, the reasoning and tool-call splitter."""
