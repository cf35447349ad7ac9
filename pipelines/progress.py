"""Where stages say what they are doing."""

import logging

# The terminal shows the newest message of the running stage.
PROGRESS = logging.getLogger("recsys_ssl.progress")
