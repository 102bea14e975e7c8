"""A round's steps, and what each leaves to the next. Import them from `mir_ops.rounds.steps`."""
