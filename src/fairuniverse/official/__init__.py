"""Submissions written for the public challenge, run as they are.

`adapter` puts the interface of our methods around theirs, `train_set` serves the training events in their
form, and `modules` makes the names they import resolve, in the worker only: `systematics`,
`derived_quantities`, `datasets` and `visualization`, alone or in the package ``HiggsML``.
"""
