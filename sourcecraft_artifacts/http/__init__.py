"""One request to a storage and the judgement of its response.

Begin with `storage`, which sends a request; `status`, `ranges` and `checksums` judge the response.
May import the ground; holds no token, and knows no file. urllib3 is known here and to `network`.
"""
