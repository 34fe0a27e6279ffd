"""Running a submission in a process that never holds the truth.

`backends` starts such a process, `process` is the host's handle on it, `worker` is what runs inside;
`shared`, `messages`, `parcel` and `answers` are what passes between the two. `bubblewrap` is the sandbox
around it: `installed` says what it shows, `seccomp` what it forbids, and `selfcheck` tries it with hostile
probes.
"""
