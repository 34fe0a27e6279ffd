"""One submission in a run, as the host of the run sees it: its run folder and what is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import StorageError
from fairuniverse.files import folder_digest
from fairuniverse.isolation.answers import KEYS, Answer
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.presentation import Presentation
from fairuniverse.provenance import provenance
from fairuniverse.repeatability import Recorded, Repeatability, choose, doubted_places
from fairuniverse.seeding import generator
from fairuniverse.station import Benchmark, Crewing, Fit, Station
from fairuniverse.store import RunStore
from fairuniverse.submission import Submission
from fairuniverse.team import Outcome, Patience, Row, Team

if TYPE_CHECKING:
    from fairuniverse.pseudo_experiments import Truth


class Entry:
    """One submission in a run.

    Args:
        benchmark: What to measure.
        submission: What measures it.
        store: Its run folder.
        crewing: How its workers are started.
        presentation: The toys.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        submission: Submission,
        store: RunStore,
        crewing: Crewing,
        presentation: Presentation,
    ) -> None:
        self.submission = submission
        self.store = store
        self.station = Station(benchmark, submission, store, crewing)
        self._benchmark = benchmark
        self._crewing = crewing
        self._presentation = presentation
        self.missing = presentation.missing(store.finished())
        if "fit" not in store.manifest and (fit := store.kept_fit()):  # the host ended before it was told
            self._update_fit(fit)
        if self.has_model and not self.is_finished:
            self._require_intact_model()

    @property
    def name(self) -> str:
        """Its name."""
        return self.submission.name

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return "finished" in self.store.manifest and not self.missing

    @property
    def needs_training(self) -> bool:
        """Whether there is something to fit, or a model that refers to the training events."""
        fit = self.store.manifest.get("fit", {})
        return fit.get("status") != "fit_failed" and bool(fit.get("needs_training", True))

    @property
    def needs_this_process(self) -> bool:
        """Whether it has a model that cannot be saved: only the process that fits it has it."""
        fit = self.store.manifest.get("fit", {})
        return fit.get("status") == "ok" and not self.has_model

    @property
    def has_model(self) -> bool:
        """Whether the run folder holds a fitted model."""
        return self.store.model_folder.is_dir()

    def _require_intact_model(self) -> None:
        """The model must be what was saved; errors of a damaged one would be put down to the method."""
        digest = folder_digest(self.store.model_folder)
        if self.store.manifest.get("model_digest", digest) != digest:
            raise StorageError(
                f"{self.store.model_folder} is not the model that was saved there: put it back from a copy, "
                "or overwrite the run (on the command line: --overwrite)"
            )

    def record_start(self) -> None:
        """Write the manifest and the truths; a run is isolated only if every session of it was."""
        self.store.write_truths(self._benchmark.pseudo_experiments.truths())
        sessions = [
            *self.store.manifest.get("sessions", []),
            {"started": _now(), "n_workers": self._crewing.n_workers},
        ]
        earlier = self.store.manifest.get("isolation", {"is_isolated": True})
        described = provenance(self._benchmark, self.submission, self._crewing.backend, earlier)
        self.store.update(**described, sessions=sessions)

    def record_fit(self, fit: Fit) -> bool:
        """Note how the fit went; if it failed, that is the answer to every toy.

        Returns:
            Whether there is a model.
        """
        self._update_fit(fit.to_json())
        if fit.status != "ok":
            failure, toys = Answer(fit.status, fit.message), self._presentation.toys
            self.station.write([Outcome(place, toys[place], failure) for place in self.missing])
        return fit.status == "ok"

    def _update_fit(self, fit: Mapping[str, Any]) -> None:
        digest = {"model_digest": folder_digest(self.store.model_folder)} if self.has_model else {}
        self.store.update(fit=fit, **digest)

    def record_session(self, **entries: Any) -> None:
        """Add to what the manifest says of this session."""
        *earlier, last = self.store.manifest["sessions"]
        self.store.update(sessions=[*earlier, {**last, **entries}])

    def record_end(self) -> None:
        """Note in the manifest that nothing is left to do."""
        self.store.update(finished=_now())

    def patience(self) -> Patience:
        """What deaths there are, as far as there are rows."""
        return Patience(self.store.without_cost())

    def still_missing(self) -> list[int]:
        """Places of the toys that have no row now."""
        return self._presentation.missing(self.store.finished())

    def give_up(self) -> None:
        """If the submission died too often in a row, say of the toys after that that they were not tried.

        Other workers may have tried some of them meanwhile, which a single one would not have; valid answers
        of earlier sessions stay.
        """
        if (place := self.patience().lost_at) is None:
            return
        rows = self.store.rows()
        patience = Patience(row for row in rows if row["place"] <= place)
        valid = {row["place"] for row in rows if row["status"] == "ok"} - set(self.missing)
        known = {row["place"]: (row["status"], row["message"]) for row in rows}
        toys = self._presentation.toys
        verdicts = [
            patience.judge(Outcome(after, toys[after], Answer("missing")))
            for after in range(place + 1, len(toys))
            if after not in valid
        ]
        new = [v for v in verdicts if known.get(v.place) != (v.answer.status, v.answer.message)]
        self.store.forget([verdict.place for verdict in new])
        if new:
            self.station.write(new)

    def fit(self, training: SharedTraining) -> Team | None:
        """Workers with the fitted model, to answer what is missing; None if there is no model."""
        worker: Worker | None = None
        with ExitStack() as stack:
            if not self.has_model:
                fit, worker = self.station.fit(training)
                if worker:
                    stack.callback(worker.close)
                if not self.record_fit(fit):
                    return None
            n_lanes = min(self._crewing.n_workers, len(self.missing)) if self.has_model else 1
            lanes = [self.station.lane(training, w) for w in (worker, *[None] * (n_lanes - 1))]
            team = self.station.team(self.missing, lanes, self.patience())
            stack.pop_all()
        return team

    @cached_property
    def doubted(self) -> list[int]:
        """Places of the toys that are asked again if they have valid answers, chosen by a secret stream."""
        rng = generator(self._benchmark.config.seed, "toys asked again")
        return doubted_places(len(self._presentation.toys), rng=rng)

    @property
    def is_to_be_doubted(self) -> bool:
        """Whether there are fresh processes to ask about its answers, and nobody has asked them yet."""
        is_asked = self.store.manifest.get("repeatability", {}).get("n_toys", 0) > 0
        return self.has_model and not self.station.is_fresh and not is_asked

    def doubted_toys(self) -> list[Recorded]:
        """Toys to ask a fresh process again while others are answered: none unless all have valid answers."""
        rows = {row["place"]: row for row in self.store.rows(at=self.doubted)}
        chosen = [rows[place] for place in self.doubted if place in rows]
        recorded = _recorded(self._presentation.toys, chosen)
        return recorded if len(recorded) == len(self.doubted) else []

    def to_ask_again(self) -> list[Recorded]:
        """Toys to ask a fresh process again in the end, with the reason recorded if there are none."""
        if self.store.manifest.get("fit", {}).get("status") == "fit_failed":
            return []
        if self.station.is_fresh:
            self.record_repeatability(Repeatability("fresh"))
            return []
        if not self.has_model:
            return self._not_checked("the model cannot be saved, so no fresh process has it")
        if not self.is_to_be_doubted:
            return []
        if not (chosen := self.doubted_toys()):
            rng = generator(self._benchmark.config.seed, "valid toys asked again")
            chosen = choose(_recorded(self._presentation.toys, self.store.rows()), rng=rng)
        return chosen or self._not_checked("no toy has a valid answer")

    def _not_checked(self, why: str) -> list[Recorded]:
        self.record_repeatability(Repeatability("not_checked", why))
        return []

    def record_repeatability(self, found: Repeatability) -> None:
        """Note whether answers depend on the toy alone."""
        self.store.update(repeatability=found.to_json())


def _recorded(toys: Sequence[Truth], rows: Sequence[Row]) -> list[Recorded]:
    """Valid answers, in the order in which they were given."""
    return [
        Recorded(toys[row["place"]], Answer("ok", "", *(float(row[k]) for k in KEYS)))
        for row in rows
        if row["status"] == "ok"
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
