"""From trained bundles to a decision: predictions, scorecards, statistics, the report, and the gate.

- `evaluate`: a job's bundle answers every test example; predictions and a scorecard go to storage.
- `benchmark`: all jobs' evaluations become systems, a leaderboard and a report.
- `gate`: the report and the champion's record become a verdict.

Nothing here trains or serves. Every figure can be computed again from the predictions on storage.
"""
