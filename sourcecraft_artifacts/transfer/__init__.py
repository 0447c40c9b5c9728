"""Fetches bytes from many URLs into partial data, with as many connections as help.

Begin with `engine`, which has the connections and the files under way; `pacing` decides how many
connections help, `reporter` is the protocol for progress. May import `disk`, `http`, `service`
(to list a cube again when its URLs expired) and the ground; does not know final names.
"""
