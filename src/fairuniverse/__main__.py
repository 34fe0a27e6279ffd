"""``python -m fairuniverse`` is the command ``fairuniverse``."""

from fairuniverse.cli import main

if __name__ == "__main__":
    main(prog_name="fairuniverse")
