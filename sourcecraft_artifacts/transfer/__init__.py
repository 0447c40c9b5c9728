"""Fetches bytes from many URLs into partial data, with as many connections as help.

Begin with `engine`, the interface, and `scheduler`, which gives files to workers; `pacing` decides
how many connections help, `reporter` is the protocol for progress. It may import `disk`, `http`,
`service` and the base modules; it does not know final names.
"""
