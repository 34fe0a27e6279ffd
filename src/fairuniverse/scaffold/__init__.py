"""A small method that runs, copied by `fairuniverse init`."""
