"""What the command line offers, as functions: simulate, shift, draw, check, run, score, report."""

from fairuniverse.api.benchmark import Benchmark
from fairuniverse.api.checks import check_submission
from fairuniverse.api.comparison import compare
from fairuniverse.api.events import shift_table, simulate
from fairuniverse.api.gathering import write_table
from fairuniverse.api.leaderboard import write_leaderboard
from fairuniverse.api.platforms import IMAGE, bundle
from fairuniverse.api.production import closure, produce
from fairuniverse.api.progress import progress_bar
from fairuniverse.api.scores import export_official, official_scores, report, score_folders, score_runs
from fairuniverse.api.status import RunStatus, compact_runs, run_status
from fairuniverse.api.submissions import init_submission, run
from fairuniverse.api.toys import write_toys

__all__ = [
    "IMAGE",
    "Benchmark",
    "RunStatus",
    "bundle",
    "check_submission",
    "closure",
    "compact_runs",
    "compare",
    "export_official",
    "init_submission",
    "official_scores",
    "produce",
    "progress_bar",
    "report",
    "run",
    "run_status",
    "score_folders",
    "score_runs",
    "shift_table",
    "simulate",
    "write_leaderboard",
    "write_table",
    "write_toys",
]
