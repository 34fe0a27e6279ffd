"""What every submission must do: the findings of `fairuniverse check`."""

from __future__ import annotations

from pathlib import Path

from fairuniverse import api
from fairuniverse.checking.findings import Finding


def check_submission(
    submission: str | Path,
    *,
    config: str | Path = "quick",
    isolation: str = "auto",
    is_official: bool = False,
) -> list[Finding]:
    """What a submission does wrong; arguments and errors as for `fairuniverse.api.check_submission`."""
    report = api.check_submission(submission, config=config, isolation=isolation, is_official=is_official)
    return list(report.findings)
