"""Tasks for processes of a pool, which import them by name."""


class StubbornError(Exception):
    """Can be pickled but not unpickled."""

    def __init__(self, first, second):
        super().__init__(first)


def fail(error):
    """Raise."""
    raise error


def fail_stubbornly():
    """Raise what does not come back as it was."""
    raise StubbornError("no way", "back")
