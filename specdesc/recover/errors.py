"""What a user of the command line can get wrong."""


class UsageError(Exception):
    """A wrong input; the message is the one line that the user sees."""
