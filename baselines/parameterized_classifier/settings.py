"""Everything that one may tune: the network, the cells, and the anchors."""

HIDDEN = (64, 64)
N_EPOCHS = 6
BATCH_SIZE = 4096
LEARNING_RATE = 5e-3
N_COPIES = 40
MAX_COPY_EVENTS = 20_000
SPREAD = 1.3
"""The classifier learns from so many copies of so many events of each process, over wider priors."""

N_NETWORK_EVENTS = 300_000
N_MORPHING_EVENTS = 1_000_000
PRESCALE = 4
"""Most events of one process that are simulated for the classifier and for the deformation of templates."""

N_CELLS = 300
N_CELL_EVENTS = 30_000
MIN_BACKGROUND_COUNT = 60.0
"""Cells in the space of scores, and how many simulated background events each must hold."""

MAX_EFFECT = 0.5
PRIOR_REACH = 2.5
"""From one anchor to the next the log density of a typical event changes by no more, and they span so many
prior standard deviations; a nuisance that changes it less over them has one anchor."""

NOISE_PULLS = (0.0, 0.7, 1.25, 1.6)
NOISE_PAIR_PULLS = (1.1,)
"""Pulls of a nuisance that adds noise at which templates are simulated: alone, and with another."""

N_ANCHOR_EVENTS = 20_000
CHUNK = 1 << 12
"""Events whose scores are computed at once, in the cache of a core."""
