-- A model of each round has a package, one is promoted; an executor was added.

INSERT INTO mir_packages (id, model_id, package, classes, object_type, stages, best_stage, state, origin, created_at)
VALUES (1, '4f93e5df395c7b831bbd760bdc8b7b74ad21079f5dd5e844b06432255fcef16f', 'fd61e83a54c7fe86def39246ced9d83d17ff4856683446913f9c4efcf8fd5fad', '["one", "two"]', 2, '{"best": {"map50": 0.5}}', 'best', 'ready', '{"producer": "mir-ops", "round": 1}', '2026-03-01 12:00:30.250000+00:00');

INSERT INTO mir_packages (id, model_id, package, classes, object_type, stages, best_stage, state, origin, created_at)
VALUES (2, '02378fc99d318e920733a6cb5551a252410bf1bc403c321f64e6f5a44f9f62b1', '09b984a545a8471aa1b56f9a1d62d78fc84c5394e00450490bad006ed0c0403d', '["one", "two"]', 2, '{"best": {"map50": 0.5}}', 'best', 'ready', '{"producer": "mir-ops", "round": 2}', '2026-03-02 12:00:30.250000+00:00');

INSERT INTO mir_promotions (id, name, model_id, stage, promoted_at)
VALUES (1, 'production', '4f93e5df395c7b831bbd760bdc8b7b74ad21079f5dd5e844b06432255fcef16f', 'best', '2026-03-02 12:00:01.250000+00:00');

INSERT INTO mir_executors (id, name, image, folder, digest, network, run_as_root, protocol, templates, added_at)
VALUES (1, 'mine', 'mine:1', NULL, 'sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d', false, false, '1.1.0', '{"2": {"train": {"epochs": 3}}}', '2026-03-01 12:00:02.250000+00:00');
