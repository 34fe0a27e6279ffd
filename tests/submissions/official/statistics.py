"""Named as a module of Python, as in a sample submission of the challenge; Python's own comes first there."""
