"""What a person or a program reads: progress, tables, reports.

Begin with `report` for the end of a download, `tracking` for what the progress displays know.
Reads results and activities, and changes nothing. May import `transfer` (the reporter's protocol),
`disk` (to write a checksum file) and the ground; rich is known here alone.
"""
