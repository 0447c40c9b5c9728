"""What is in a folder, and why it is trusted.

Begin with `tree` and `directory` for the folders below the output folder, `manifest` for what is
known of the files there, `partial` for incomplete files, `paths` for where an artifact may land,
and `archives` and `aside` for folders that arrive as archives. It may import `http` (versions,
checksums) and the base modules; it opens no connection.
"""
