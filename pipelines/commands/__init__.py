"""IN what a person types. OUT the command `recsys-ssl`, one file a family of commands."""
