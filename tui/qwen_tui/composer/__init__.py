"""Where one writes: editor, completion, attachments, slash commands."""
