"""Import of HistFactory workspaces (pyhf's JSON) as binned models.

Samples become processes, all channels' bins one row of bins. ``normsys`` and ``histosys`` are interpolated
with ``code4`` and ``code4p``, as pyhf does with a workspace. A ``staterror`` on all samples of a channel is
the Monte Carlo uncertainty of its templates; on some of them it is a constrained factor for each bin. A
``shapesys`` is a free factor for each bin, measured in an auxiliary bin that is added to the data: its
Poisson constraint is exactly that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedModel
from fairuniverse.likelihood.factors import Code4Factor
from fairuniverse.likelihood.histfactory import Code4Morphing, LinearMorphing, ProductMorphing
from fairuniverse.likelihood.morphing import Code4pMorphing, Morphing
from fairuniverse.likelihood.template_errors import GaussianErrors
from fairuniverse.likelihood.templates import Templates
from fairuniverse.nuisance import Normal, NuisanceParameter, Prior, Uniform
from fairuniverse.protocols import Process

AUXILIARY = "auxiliary measurements"
"""Process that fills the auxiliary bins of ``shapesys`` modifiers."""

_STANDARD = Normal(0.0, 1.0)
_PULL_BOUNDS = (-5.0, 5.0)
_FREE = Uniform(0.0, 2.0)
"""Prior of factors without constraint, which start at 1; their range is that of their bounds."""

_FACTOR_BOUNDS = (0.0, 10.0)
_KINDS = ("normfactor", "normsys", "histosys", "lumi", "staterror", "shapesys", "shapefactor")


def from_pyhf(
    workspace: Mapping[str, Any], measurement: str | None = None
) -> tuple[BinnedModel, NDArray[np.float64]]:
    """Binned model and data of a HistFactory workspace.

    Args:
        workspace: Workspace of schema version 1.0.0, as ``json.load`` reads it.
        measurement: Name of the measurement to take; the first if not given.

    Returns:
        The model, its parameter of interest called ``mu``, and the observed counts of all channels in the
        order of their names, followed by the auxiliary counts of ``shapesys`` modifiers.

    Raises:
        InvalidDataError: The workspace has a modifier or a setting that cannot be followed; the message names
            it.

    Notes:
        Fits agree with pyhf's, but mu may be negative here, as far as the expectation stays positive.
    """
    reader = _Reader(workspace, _measurement(workspace, measurement))
    reader.read()
    return reader.model(), reader.data()


def _measurement(workspace: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    measurements = {m["name"]: m for m in workspace["measurements"]}
    chosen = next(iter(measurements)) if name is None else name
    if chosen not in measurements:
        raise InvalidDataError(f"no measurement {chosen!r} among {', '.join(measurements)}")
    config: Mapping[str, Any] = measurements[chosen]["config"]
    return config


@dataclass(frozen=True)
class _Use:
    """One modifier of one sample in one channel.

    Attributes:
        name: Name of the modifier.
        kind: Its type.
        data: Its data.
        row: The sample.
        bins: The channel's bins.
    """

    name: str
    kind: str
    data: Any
    row: int
    bins: slice

    @property
    def cells(self) -> tuple[int, slice]:
        """Where it acts among all yields."""
        return self.row, self.bins

    def cell(self, i: int) -> tuple[int, int]:
        """The same for one bin of the channel."""
        return self.row, self.bins.start + i


class _Reader:
    """A workspace as arrays over samples and bins, filled modifier by modifier.

    Attributes:
        nominal: Shape (n_samples, n_bins), the samples' data.
        yields: The same with the factors of fixed parameters.
        errors: The same of ``staterror`` data.
        signal: What the parameter of interest multiplies.
        parameters: Nuisance parameters by name.
        additive: By name the ratios up and down of a ``histosys``, shape (2, n_samples, n_bins).
        exponential: The same of a ``normsys``.
        linear: By name what a factor multiplies, shape (n_samples, n_bins).
        auxiliary: By name of a factor the counts of its auxiliary measurement.
    """

    def __init__(self, workspace: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self.workspace, self.poi = workspace, config["poi"]
        self.settings = {p["name"]: p for p in config.get("parameters", [])}
        self.channels = sorted(workspace["channels"], key=lambda c: str(c["name"]))
        self.samples = list(dict.fromkeys(s["name"] for c in self.channels for s in c["samples"]))
        sizes = [len(c["samples"][0]["data"]) for c in self.channels]
        ends = np.cumsum(sizes).tolist()
        self.bins = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.nominal = np.zeros((len(self.samples), sum(sizes)))
        for channel, bins in zip(self.channels, self.bins, strict=True):
            for sample in channel["samples"]:
                self.nominal[self.samples.index(sample["name"]), bins] = sample["data"]
        self.yields, self.errors = self.nominal.copy(), np.zeros_like(self.nominal)
        self.signal = np.zeros(self.nominal.shape, dtype=bool)
        self.parameters: dict[str, NuisanceParameter] = {}
        self.additive: dict[str, NDArray[np.float64]] = {}
        self.exponential: dict[str, NDArray[np.float64]] = {}
        self.linear: dict[str, NDArray[np.bool_]] = {}
        self.auxiliary: dict[str, float] = {}

    def read(self) -> None:
        """Follow every modifier.

        Raises:
            InvalidDataError: One cannot be followed.
        """
        for use in self._uses():
            if use.kind not in _KINDS:
                raise InvalidDataError(f"modifier {use.name!r} is a {use.kind!r}, which cannot be imported")
            self._require_plain_constraint(use)
            getattr(self, f"_read_{use.kind}")(use)
        for bins in self.bins:
            self._share_errors(bins)
        self._require_signal()

    def model(self) -> BinnedModel:
        """The model of all channels, and of the auxiliary bins."""
        names, is_signal = list(self.samples), [bool(row.any()) for row in self.signal]
        yields, variances = self._widened(self.yields), self._widened(self._variances())
        if self.auxiliary:
            names.append(AUXILIARY)
            is_signal.append(False)
            yields[-1, self.nominal.shape[1] :] = list(self.auxiliary.values())
        expected = [float(row.sum()) for row in yields]
        processes = tuple(map(Process, names, expected, is_signal))
        nuisances = tuple(self.parameters.values())
        morphing = ProductMorphing(nuisances, tuple(self._parts())) if nuisances else None
        return BinnedModel(
            Templates(processes, yields, variances), nuisances, morphing, template_errors=GaussianErrors
        )

    def data(self) -> NDArray[np.float64]:
        """Observed counts in the order of the bins, then the auxiliary ones."""
        observed = {o["name"]: o["data"] for o in self.workspace["observations"]}
        counts = [np.asarray(observed[c["name"]], float) for c in self.channels]
        return np.concatenate([*counts, np.array(list(self.auxiliary.values()))])

    def _uses(self) -> Iterator[_Use]:
        for channel, bins in zip(self.channels, self.bins, strict=True):
            for sample in channel["samples"]:
                row = self.samples.index(sample["name"])
                for m in sample["modifiers"]:
                    yield _Use(m["name"], m["type"], m["data"], row, bins)

    def _read_normfactor(self, use: _Use) -> None:
        if use.name == self.poi:
            self.signal[use.cells] = True
        elif self._is_fixed(use.name):
            self.yields[use.cells] *= self._initial(use.name, 1.0)
        else:
            self._factor(use.name, _FREE, self._bounds(use.name, _FACTOR_BOUNDS))[use.cells] = True

    def _read_lumi(self, use: _Use) -> None:
        given = self.settings.get(use.name, {})
        if "auxdata" not in given or "sigmas" not in given:
            raise InvalidDataError(f"lumi {use.name!r} needs auxdata and sigmas in the measurement")
        prior = Normal(float(given["auxdata"][0]), float(given["sigmas"][0]))
        if self._is_fixed(use.name):
            self.yields[use.cells] *= self._initial(use.name, prior.mean)
        else:
            self._factor(use.name, prior, self._bounds(use.name, (0.0, 10.0)))[use.cells] = True

    def _read_normsys(self, use: _Use) -> None:
        up, down = float(use.data["hi"]), float(use.data["lo"])
        if self._is_fixed(use.name):
            self.yields[use.cells] *= Code4Factor(down, up).at(self._initial(use.name, 0.0))[0]
        else:
            self._pull(use.name, self.exponential)[:, *use.cells] = [[up], [down]]

    def _read_histosys(self, use: _Use) -> None:
        shifted = np.array([use.data["hi_data"], use.data["lo_data"]], dtype=np.float64)
        nominal = self.nominal[use.cells]
        if (shifted[:, nominal == 0] != 0).any():
            raise InvalidDataError(
                f"histosys {use.name!r} fills a bin of sample {self.samples[use.row]!r} in which nothing is "
                "expected nominally: give that bin a small expectation"
            )
        ratios = np.divide(shifted, nominal, out=np.ones_like(shifted), where=nominal > 0)
        if not self._is_fixed(use.name):
            self._pull(use.name, self.additive)[:, *use.cells] = ratios
        elif self._initial(use.name, 0.0) != 0:
            raise InvalidDataError(f"histosys {use.name!r} is fixed away from 0, which cannot be imported")

    def _read_staterror(self, use: _Use) -> None:
        if not self._is_fixed_at_one(use):
            self.errors[use.cells] = use.data

    def _read_shapesys(self, use: _Use) -> None:
        nominal, errors = self.nominal[use.cells], np.asarray(use.data, float)
        known = (nominal <= 0) | (errors <= 0) | self._is_fixed_at_one(use)
        for i in np.flatnonzero(~known).tolist():
            name = f"{use.name}[{i}]"
            if name in self.auxiliary:
                raise InvalidDataError(f"shapesys {use.name!r} is used twice: give each its own name")
            self.auxiliary[name] = float((nominal[i] / errors[i]) ** 2)
            self._factor(name, _FREE, self._bounds(use.name, _FACTOR_BOUNDS, i))[use.cell(i)] = True

    def _read_shapefactor(self, use: _Use) -> None:
        if not self._is_fixed_at_one(use):
            for i in range(use.bins.stop - use.bins.start):
                bounds = self._bounds(use.name, _FACTOR_BOUNDS, i)
                self._factor(f"{use.name}[{i}]", _FREE, bounds)[use.cell(i)] = True

    def _share_errors(self, bins: slice) -> None:
        """Make factors of those Monte Carlo errors that are not of a channel's whole expectation."""
        errors, nominal = self.errors[:, bins], self.nominal[:, bins]
        rows = np.asarray(errors.any(axis=1))
        expects = np.asarray(nominal.any(axis=1))
        if not rows.any() or rows[expects].all():
            return
        relative = _relative(errors, nominal[rows])
        for i in np.flatnonzero(relative).tolist():
            prior = Normal(1.0, float(relative[i]))
            self._factor(f"staterror[{bins.start + i}]", prior, _FACTOR_BOUNDS)[rows, bins.start + i] = True
        self.errors[:, bins] = 0.0

    def _variances(self) -> NDArray[np.float64]:
        """Variances with the relative errors that the nominal samples have, shape (n_samples, n_bins)."""
        squares = self.errors**2
        total = (_relative(self.errors, self.nominal) * self.yields.sum(axis=0)) ** 2
        sums = squares.sum(axis=0)
        shares: NDArray[np.float64] = np.divide(total, sums, out=np.zeros_like(total), where=sums > 0)
        return squares * shares

    def _parts(self) -> Iterator[Morphing]:
        """The morphings of the three kinds of modifiers, over all bins."""
        named = self.parameters
        if self.additive:
            up, down = self._stacked(self.additive)
            nominal = np.ones(up.shape[1:])
            yield Code4pMorphing(tuple(named[n] for n in self.additive), up, down, nominal)
        if self.exponential:
            up, down = self._stacked(self.exponential)
            yield Code4Morphing(tuple(named[n] for n in self.exponential), up, down)
        if self.linear:
            applies = np.array([self._widened(mask) for mask in self.linear.values()])
            for i, name in enumerate(self.auxiliary):
                applies[list(self.linear).index(name), -1, self.nominal.shape[1] + i] = True
            yield LinearMorphing(tuple(named[n] for n in self.linear), applies)

    def _stacked(
        self, ratios: Mapping[str, NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ratios up and down of all parameters, over all bins, each (n_parameters, n_samples, n_bins)."""
        stacked = np.array([[self._widened(side, 1.0) for side in pair] for pair in ratios.values()])
        return stacked[:, 0], stacked[:, 1]

    def _widened(self, values: NDArray[Any], fill: float = 0.0) -> NDArray[Any]:
        """The same array with room for the auxiliary process and its bins."""
        n = len(self.auxiliary)
        return np.pad(values, ((0, int(n > 0)), (0, n)), constant_values=values.dtype.type(fill))

    def _pull(self, name: str, kind: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Ratios up and down of a nuisance that is a pull, to be filled."""
        self._add(name, _STANDARD, self._bounds(name, _PULL_BOUNDS), name in self.linear)
        return kind.setdefault(name, np.ones((2, *self.nominal.shape)))

    def _factor(self, name: str, prior: Prior, bounds: tuple[float, float]) -> NDArray[np.bool_]:
        """What a nuisance that is a factor multiplies, to be filled."""
        self._add(name, prior, bounds, name in self.additive or name in self.exponential)
        return self.linear.setdefault(name, np.zeros(self.nominal.shape, dtype=bool))

    def _add(self, name: str, prior: Prior, bounds: tuple[float, float], is_mixed: bool) -> None:
        if is_mixed or name == "mu":
            raise InvalidDataError(
                f"parameter {name!r} is both a pull and a factor, or has the name of the parameter of "
                "interest: give each parameter its own name"
            )
        self.parameters[name] = NuisanceParameter(name, prior, prior.from_alpha(0.0), bounds, "shape")

    def _bounds(self, name: str, default: tuple[float, float], i: int = 0) -> tuple[float, float]:
        given = self.settings.get(name, {}).get("bounds")
        low, high = given[min(i, len(given) - 1)] if given else default
        return float(low), float(high)

    def _initial(self, name: str, default: float) -> float:
        return float(self.settings.get(name, {}).get("inits", [default])[0])

    def _is_fixed(self, name: str) -> bool:
        return bool(self.settings.get(name, {}).get("fixed", False))

    def _is_fixed_at_one(self, use: _Use) -> bool:
        if not self._is_fixed(use.name):
            return False
        if set(self.settings[use.name].get("inits", [1.0])) != {1.0}:
            raise InvalidDataError(f"{use.kind} {use.name!r} is fixed away from 1, which cannot be imported")
        return True

    def _require_plain_constraint(self, use: _Use) -> None:
        given = self.settings.get(use.name, {})
        if use.kind != "lumi" and ("auxdata" in given or "sigmas" in given):
            raise InvalidDataError(
                f"the measurement changes the constraint of {use.name!r}, which can only be imported for lumi"
            )

    def _require_signal(self) -> None:
        rows = self.signal.any(axis=1)
        if not rows.any() or self._is_fixed(self.poi):
            raise InvalidDataError(
                f"parameter of interest {self.poi!r} is fixed, or no normfactor of a sample"
            )
        for row in np.flatnonzero(rows):
            if ((self.nominal[row] > 0) & ~self.signal[row]).any():
                raise InvalidDataError(
                    f"{self.poi!r} multiplies sample {self.samples[row]!r} in some channels only: give the "
                    "part that it does not multiply another name"
                )


def _relative(errors: NDArray[np.float64], nominal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors of samples in quadrature over the sum of nominal yields, 0 where nothing is expected."""
    total = nominal.sum(axis=0)
    error = np.sqrt((errors**2).sum(axis=0))
    relative: NDArray[np.float64] = np.divide(error, total, out=np.zeros_like(error), where=total > 0)
    return relative
