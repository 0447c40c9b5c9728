"""One download, from request to report.

Begin with `download`: it lists, plans, transfers and reports. `plan` decides about all artifacts,
by the `decisions` about each; the targets are `output_folder`, `output_file` (`-o FILE`) and
`output_stream` (`-o -`); `to_folder` and `to_file` lead from the plan to them. It may import
`transfer`, `disk`, `http`, `service` and the base modules; it knows no terminal. (A package named
`download` would hide the public function.)
"""
