-- Rows of a deployment of revision 0001: one round is closed, the next waits for labels.

INSERT INTO mir_projects (id, name, spec, created_at, updated_at)
VALUES (1, 'digits', '{"classes": ["one", "two"], "executor": {"name": "sample"}, "labels": {"backend": "oracle"}, "mining": {"budget": 4, "strategy": "entropy"}, "name": "digits", "seed": 5, "sources": {"pool": "/d/p.zip", "training": "/d/t.zip", "validation": "/d/v.zip"}}', '2026-03-01 12:00:00.250000+00:00', '2026-03-01 12:00:05.250000+00:00');

INSERT INTO mir_rounds (id, project_id, number, deployment, dag_id, run_id, state, open_project, spec, conf, reason, record, opened_at, closed_at)
VALUES (1, 1, 1, 'local', 'round__digits', 'manual__1', 'closed', NULL, '{"classes": ["one", "two"], "executor": {"name": "sample"}, "labels": {"backend": "oracle"}, "mining": {"budget": 4, "strategy": "entropy"}, "name": "digits", "seed": 5, "sources": {"pool": "/d/p.zip", "training": "/d/t.zip", "validation": "/d/v.zip"}}', '{"budget": 4}', NULL, '70ce871f8a3d3fb449bc3c3ace6547cef02dfc74ffe48d912532a724bfdbe5b9', '2026-03-01 12:00:10.250000+00:00', '2026-03-02 12:00:00.250000+00:00');

INSERT INTO mir_rounds (id, project_id, number, deployment, dag_id, run_id, state, open_project, spec, conf, reason, record, opened_at, closed_at)
VALUES (2, 1, 2, 'local', 'round__digits', 'manual__2', 'open', 1, '{"classes": ["one", "two"], "executor": {"name": "sample"}, "labels": {"backend": "oracle"}, "mining": {"budget": 4, "strategy": "entropy"}, "name": "digits", "seed": 5, "sources": {"pool": "/d/p.zip", "training": "/d/t.zip", "validation": "/d/v.zip"}}', '{}', NULL, NULL, '2026-03-03 12:00:00.250000+00:00', NULL);

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (1, 1, 'open_round', '8b723a0d3f448e8ff2441a1325b08d29ec85013a522d333af05cd007a3a170b5', true, 'done', 100.0, NULL, '{"labels": null, "number": 1, "project": "digits", "round_id": 1, "training": null}', '2026-03-01 12:00:20.250000+00:00', '2026-03-01 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (2, 1, 'train', '825cd5ae2692eb978054a9146586f25ec44de544e9dbc94cfada045d7425680b', true, 'done', 100.0, NULL, '{"log": null, "metrics": {"map50": 0.5}, "model_id": "4f93e5df395c7b831bbd760bdc8b7b74ad21079f5dd5e844b06432255fcef16f", "op_id": "825cd5ae2692eb978054a9146586f25ec44de544e9dbc94cfada045d7425680b", "package": "fd61e83a54c7fe86def39246ced9d83d17ff4856683446913f9c4efcf8fd5fad", "stage": "best"}', '2026-03-01 12:00:20.250000+00:00', '2026-03-01 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (3, 1, 'create_label_task', 'f7b6588868b594656e4e5a69fd249f3ded60fdc2050809d0760556ebd9f4c3d9', true, 'done', 100.0, NULL, '{"backend": "oracle", "op_id": "3cc5b779a48c63b56a5c180c7c5223c8591f4c01f7d29a1c9e06ef28a18e6f90", "requested": 4, "task": "task-1"}', '2026-03-01 12:00:20.250000+00:00', '2026-03-01 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (4, 2, 'open_round', '704b9090cfae1954e9ce3bb2c9e1d59b3d1f1a648271225cd3d4bb699c1258c0', true, 'done', 100.0, NULL, '{"labels": null, "number": 2, "project": "digits", "round_id": 2, "training": "6e5e32999f1a0cee4cca9f5c5c6c0f454f3c9c8fe8a7ff09d3008656e2a1eece"}', '2026-03-02 12:00:20.250000+00:00', '2026-03-02 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (5, 2, 'train', 'd71663aa3db4c0d5d86a51f805bcec09ed1bb1e13262bef6b330fe0dbfee5bae', true, 'done', 100.0, NULL, '{"log": null, "metrics": {"map50": 0.5}, "model_id": "02378fc99d318e920733a6cb5551a252410bf1bc403c321f64e6f5a44f9f62b1", "op_id": "d71663aa3db4c0d5d86a51f805bcec09ed1bb1e13262bef6b330fe0dbfee5bae", "package": "09b984a545a8471aa1b56f9a1d62d78fc84c5394e00450490bad006ed0c0403d", "stage": "best"}', '2026-03-02 12:00:20.250000+00:00', '2026-03-02 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (6, 2, 'create_label_task', '5bf1286e0bb7b8c3d03a93a50d5fa2f524861b9c5e138286f508e4ce2b48bc30', true, 'done', 100.0, NULL, '{"backend": "oracle", "op_id": "7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab", "requested": 4, "task": "task-2"}', '2026-03-02 12:00:20.250000+00:00', '2026-03-02 12:00:30.250000+00:00');

INSERT INTO mir_round_steps (id, round_id, step, op_id, current, state, percent, message, result, started_at, finished_at)
VALUES (7, 2, 'wait_for_labels', '7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab', true, 'running', 25.0, '1 of 4', NULL, '2026-03-03 12:00:40.250000+00:00', NULL);

INSERT INTO mir_models (id, project_id, round_id, op_id, model_id, stage, classes, package, log, training, image, config, seed, training_metrics, metrics, predictions, created_at)
VALUES (1, 1, 1, '825cd5ae2692eb978054a9146586f25ec44de544e9dbc94cfada045d7425680b', '4f93e5df395c7b831bbd760bdc8b7b74ad21079f5dd5e844b06432255fcef16f', 'best', '["one", "two"]', 'fd61e83a54c7fe86def39246ced9d83d17ff4856683446913f9c4efcf8fd5fad', NULL, 'f70d66f302193fa891083b0fce155343c7f06682db435e89b887187114e98380', '{"image": "mir-ops/sample:0.1.0", "name": "sample"}', '{"seed": 5}', 5, '{"map50": 0.5}', '{"map50": 0.25}', '148ba6efa144d229bb0f04112f81f534735c32839c84fead5651d82cfbbfda2b', '2026-03-01 12:00:30.250000+00:00');

INSERT INTO mir_label_tasks (id, round_id, op_id, backend, external_id, state, requested, done, skipped, message, last_activity, created_at)
VALUES (1, 1, '3cc5b779a48c63b56a5c180c7c5223c8591f4c01f7d29a1c9e06ef28a18e6f90', 'oracle', 'task-1', 'done', 4, 4, 0, NULL, '2026-03-03 12:00:50.250000+00:00', '2026-03-01 12:00:40.250000+00:00');

INSERT INTO mir_gate_reports (id, round_id, stage, op_id, blocked, message, json_blob, html_blob, created_at)
VALUES (1, 1, 'data', '964721216ac38905cd7bb8f7980e96400d7cd6070b18ab95e2d8ee9802284aff', false, 'All rules hold', '0fe1d4fbc311c34d47181103ae4b318f906860075be434815dd86665d395a107', 'fe85b82b53b2461c2b273c27b60a2bb9170be0eed863a7f253c8561ca9444f34', '2026-03-01 12:00:15.250000+00:00');

INSERT INTO mir_models (id, project_id, round_id, op_id, model_id, stage, classes, package, log, training, image, config, seed, training_metrics, metrics, predictions, created_at)
VALUES (2, 1, 2, 'd71663aa3db4c0d5d86a51f805bcec09ed1bb1e13262bef6b330fe0dbfee5bae', '02378fc99d318e920733a6cb5551a252410bf1bc403c321f64e6f5a44f9f62b1', 'best', '["one", "two"]', '09b984a545a8471aa1b56f9a1d62d78fc84c5394e00450490bad006ed0c0403d', NULL, 'ee1f8f7edf47ba78dec9d16557d3ecda69671938873a9e1fa548b489e525af1f', '{"image": "mir-ops/sample:0.1.0", "name": "sample"}', '{"seed": 5}', 5, '{"map50": 0.5}', NULL, NULL, '2026-03-02 12:00:30.250000+00:00');

INSERT INTO mir_label_tasks (id, round_id, op_id, backend, external_id, state, requested, done, skipped, message, last_activity, created_at)
VALUES (2, 2, '7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab', 'oracle', 'task-2', 'open', 4, 1, 0, NULL, '2026-03-03 12:00:50.250000+00:00', '2026-03-02 12:00:40.250000+00:00');

INSERT INTO mir_gate_reports (id, round_id, stage, op_id, blocked, message, json_blob, html_blob, created_at)
VALUES (2, 2, 'data', '1fd4844bd6cc1a2e4b0f6085d2ca4bf91c84054f0c78df5667c8ee5bfda66d43', false, 'All rules hold', '406e4ab8dcd202f7f9163e5bf38acc469eff0e6f418fbef643ecf7ada3ec8629', '1a7cb1d73ed610d23a127212af3cd6f8c6e44e17a7e88a065ae183663b8b12dd', '2026-03-02 12:00:15.250000+00:00');
