"""Clicks: simulated on the errors of a mask, and made to be obeyed.

Simulated clicks are drawn on the error map of an answer (`components.error_map`):

- stage 1 (`training.stages.rounds`): by `simulate_clicks`, round after round;
- stage 2 and validation (`training.callbacks.click_simulation`): by `simulate_clicks`, all at once;
- `pisam interact`: clicks given at once by `simulate_clicks`; one a round by `policies.centre_click`;
- `pisam benchmark`: one a round by `policies.deepest_click` or `policies.human_click`;
- `pisam refine truth=DIR`: one a round by `policies.centre_click`.

`components.locally_repaired` is their perfect repair, `guarantee.obey` makes every click be obeyed.
"""
