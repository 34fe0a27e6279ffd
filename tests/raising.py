"""What other processes import to fail with an error of choice."""


def fail(error: BaseException) -> None:
    """Raise it."""
    raise error
