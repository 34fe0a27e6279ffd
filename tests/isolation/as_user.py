"""Run as a script by an ordinary user: the hostile submission in that user's sandbox; the report is JSON."""

import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))


def main():
    """Let one worker do every deed."""
    from conftest import make_tiny
    from fairuniverse.isolation.backends import get_backend
    from fairuniverse.isolation.process import OutputLog, SharedTraining, Worker
    from fairuniverse.runner import _training_spec
    from fairuniverse.submission import load_submission

    sys.path.insert(0, str(TESTS / "isolation"))
    from test_bubblewrap import BLOCKED, MEMORY_MIB, do_everything, hostile_folder

    folder = Path(tempfile.mkdtemp())
    try:
        benchmark = make_tiny(memory_mib=MEMORY_MIB)
        backend = get_backend("bubblewrap")
        worker = Worker(
            load_submission(hostile_folder(folder, 9, os.getpid())),
            SharedTraining(benchmark.training_events, _training_spec(benchmark)),
            backend=backend,
            limits=benchmark.config.limits,
            log=OutputLog(folder / "worker.log"),
            stop=threading.Event(),
        )
        worker.fit()
        answers = do_everything(worker)
        messages = {deed: answer.message for deed, answer in zip(BLOCKED, answers, strict=True)}
        worker.close()
    finally:
        shutil.rmtree(folder)
    print(json.dumps({"uid": os.getuid(), "is_isolated": backend.is_isolated, "messages": messages}))


if __name__ == "__main__":
    main()
