"""Running a submission in a process that never holds the truth.

`backends` starts such a process, `process` is the host's handle on it, `worker` is what runs inside;
`shared`, `messages` and `answers` are what passes between the two.
"""
