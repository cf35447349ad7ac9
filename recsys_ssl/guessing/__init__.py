"""IN files of a log and its tables, bounded samples of them. OUT a first feature spec with a reason at every guess."""
