"""The ``kfood`` command, one file a subcommand."""
