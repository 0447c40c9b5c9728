"""What a person or a program reads: progress, tables, reports.

Begin with `summary` for the end of a download, `report` for its JSON, `planned` for a plan, and
`tracking` for the progress displays. It reads results and activities, and changes nothing. It may
import `transfer` (the reporter's protocol), `disk` (to write a checksum file) and the base modules;
only this package imports rich.
"""
