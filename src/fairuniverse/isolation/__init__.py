"""Running a submission in a process that never holds the truth.

`backends` starts such a process, `process` is the host's handle on it, which watches its `usage` and follows
its `output`, and `worker` is what runs inside; `shared`, `messages`, `parcel` and `answers` are what passes
between the two. `bubblewrap` or `podman` is the sandbox around it: `installed` says what it shows, `seccomp`
what it forbids, `cgroup` what it may use, `gpu` which devices it may have, and `selfcheck` tries it with
hostile probes. The `guard` sees to its end. docs/isolation.md tells what holds.
"""
