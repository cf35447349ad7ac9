"""IN real logs OUT trials of every regulariser and baseline, and the tables that compare them."""
