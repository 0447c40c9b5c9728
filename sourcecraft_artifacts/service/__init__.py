"""The API of the service: endpoints, responses, listings, token.

Begin with `api` for the client, `listing` for what an address selects, `access` for the token and
the host that it is bound to. It may import the base modules; only this package and `proxies` import
requests.
"""
