"""What a user of the command line can get wrong, or stop."""


class UsageError(Exception):
    """A wrong input; the message is the one line that the user sees."""


class Interrupted(Exception):
    """The user stopped the work; the message says what is kept."""
