"""One download, from request to report.

Begin with `story`: it lists, plans, transfers and reports. `plan` decides what happens to each
artifact; `output_folder` and `output_file` are the two targets. It may import `transfer`, `disk`,
`http`, `service` and the ground; it knows no terminal. (`download` is the name of the public
function.)
"""
