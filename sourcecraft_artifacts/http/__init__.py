"""One request to the storage, and the checks of its response.

Begin with `storage`, which sends a request; `status`, `ranges` and `checksums` check the response.
It may import the base modules; it has no token, and knows no file.
"""
