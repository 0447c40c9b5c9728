"""Bytes from many URLs into partial data, as fast as pays.

Begin with `engine`, which has the connections and the files under way; `pacing` says how many
connections pay, `reporter` is the protocol of who is told. May import `disk`, `http`, `service`
(to list a cube again when its URLs expired) and the ground; knows no final name.
"""
