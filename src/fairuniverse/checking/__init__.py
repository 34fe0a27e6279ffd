"""Looking at a submission before it is uploaded: in seconds, in the sandbox, each finding with its remedy.

`files` looks at the folder or zip without running anything, `trial` runs it in a `small` version of the
benchmark's world, `answers` and `costs` judge what came out, and `report` tells it.
"""
