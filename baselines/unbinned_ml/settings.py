"""Everything that one may tune: sizes of networks and samples, and where events are shifted."""

PRESCALE = 4
"""Of simulated events that do not resemble the signal one in so many is kept."""

N_RATIO_EVENTS = 3_000_000
RATIO_HIDDEN = (128, 128, 128)
N_RATIO_EPOCHS = 8
RATIO_RATE = 4e-3
"""Multi-class network of the density ratios: most simulated events of a process, and its training."""

N_SHIFT_EVENTS = 150_000
SHIFT_HIDDEN = (64, 64)
N_SHIFT_EPOCHS = 3
SHIFT_RATE = 3e-3
MIN_FOCUS = 0.05
"""Network of the logarithmic shifts. In its training an event counts by the chance that it is signal, and by
this at least: where the signal is, shifts must be known best."""

N_SKETCH_EVENTS = 1_500_000
SKETCH_HIDDEN = (64, 64)
N_SKETCH_EPOCHS = 8
SKETCH_RATE = 4e-3
EXACT_SHARE = 0.2
"""Network that sketches the scores, taught by the other two on so many events; and the share of events, the
most signal-like by its sketch, whose scores are computed in full."""

BATCH_SIZE = 4096
"""Events of one step in the training of any network."""

DEGREES = {1: 6, 2: 4}
MANY_DEGREE = 2
SINGLE_PULLS = (-2.5, -1.25, 1.25, 2.5)
PAIR_PULLS = (-1.8, 1.8)
NOISE_PULLS = (0.0, 0.7, 1.25, 1.6)
NOISE_PAIR_PULLS = (1.1,)
FEW_REACH = 3.0
"""Polynomials in the nuisances, and the pulls at which the networks and the templates see shifted events: a
product grid for one or two nuisances, single shifts and pairs for more."""

N_CELLS = 200
N_CELL_EVENTS = 60_000
MIN_BACKGROUND_COUNT = 60.0
N_MORPHING_EVENTS = 3_000_000
"""Cells of the scores, and the most events of a process that tell how their contents deform."""

MAX_UNBINNED = 30_000.0
"""Expected events in the cells in which the likelihood is unbinned: those that lose most by being counted."""

CHUNK = 1 << 16
"""Events at a time, to bound the memory of what is made of them."""
