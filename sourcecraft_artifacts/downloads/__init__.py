"""One download, from request to report.

Begin with `story`: it lists, plans, transfers and reports. `plan` decides about all artifacts, by
the `decisions` about each; the targets are `output_folder`, `output_file` (`-o FILE`) and
`output_stream` (`-o -`); `to_folder` and `to_file` lead from the plan to them. It may import
`transfer`, `disk`, `http`, `service` and the ground; it knows no terminal. (`download` is the name
of the public function.)
"""
