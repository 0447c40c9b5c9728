"""The command line: words in, words and exit statuses out.

Begin with `app`, which declares the commands. `options` has each option once, `session` resolves
settings, `request` makes the request of a download, `config` reads and edits the config file,
`boundary` turns errors and signals into messages and exit statuses. May import everything else;
typer is known here alone.
"""
