"""Who draws, who asks, and whose processes end when."""

import threading
import time

import numpy as np

from fairuniverse.crew import Crew
from fairuniverse.events import Events
from fairuniverse.isolation.answers import Answer
from fairuniverse.pseudo_experiments import Truth
from fairuniverse.team import Patience, Team
from tiny_world import SCHEMA

EVENTS = Events(SCHEMA, np.zeros((2, 5), dtype=np.float32))


class ThreadBoundLane:
    """As a lane whose process was started by a thread, and ends with it, as the kernel has it here."""

    def __init__(self):
        self.starter = None

    @property
    def is_running(self):
        """Whether it has been started."""
        return self.starter is not None

    def ask(self, events, release, nuisances):
        """An answer, after a moment, if the process is still there."""
        self.starter = self.starter or threading.current_thread()
        release(events)
        time.sleep(0.01)
        return Answer("ok" if self.starter.is_alive() else "crashed"), None

    def close(self):
        """Nothing to end."""


def draw_slowly(truth):
    """Events, after a moment in which every worker has become idle."""
    time.sleep(0.02)
    return EVENTS


def test_nobody_leaves_before_the_last_answer():
    """A process may be asked by another thread than the one that started it, which has to stay.

    In one of two runs the last toy goes to a process that the other thread started: of a crew that leaves too
    early, ten runs notice nothing once in a thousand times.
    """
    for _ in range(10):
        toys = [Truth(0, i, 1.0, {}) for i in range(4)]
        outcomes = []
        lanes = [ThreadBoundLane(), ThreadBoundLane()]
        patience = Patience()
        team = Team(range(4), lanes, write=outcomes.extend, patience=patience, told=lambda truth: None)
        crew = Crew(toys, [team], draw=draw_slowly, n_workers=2, stop=threading.Event())
        crew.work(lambda: None)
        assert [outcome.answer.status for outcome in outcomes] == ["ok"] * 4
