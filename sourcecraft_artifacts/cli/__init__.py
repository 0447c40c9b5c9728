"""The command line: arguments in, messages and exit statuses out.

Begin with `app`, the program; each command has a module of its name. `options` has each option
once, `session` resolves settings, `request` makes the request of a download, `report` shows how it
ended, `config` reads and edits the config file, `boundary` turns errors and signals into messages
and exit statuses. It may import everything else; only this package imports typer.
"""
