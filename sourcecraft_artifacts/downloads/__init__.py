"""The story of one download: request, plan, targets, outcome.

Begin with `story`: it lists, plans, runs and reports. `plan` decides what happens to each artifact,
`output_folder` and `output_file` are the two targets. May import `transfer`, `disk`, `http`,
`service` and the ground; knows no terminal. (The name `download` is that of the public function.)
"""
