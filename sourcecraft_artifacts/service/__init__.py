"""The API of the service: endpoints, responses, listings, settings of access.

Begin with `api` for the client, `listing` for what an address selects, `access` for the token and
where it may go. May import the ground; requests is known here and to `network`.
"""
