-- A run that labels a dataset by itself.

INSERT INTO mir_label_tasks (id, round_id, project_id, branch, dag_id, run_id, op_id, backend, external_id, state, requested, done, skipped, message, last_activity, enough_at, created_at)
VALUES (3, NULL, 1, 'digits/labels', 'dataset_label', 'manual__9', '21665fb6f20fc64c28b06e89e33e1641dbd94e7d1c1fa872fa8547f9f586b646', 'folder', 'folder-9', 'open', 2, 0, 0, NULL, NULL, NULL, '2026-03-04 12:00:01.250000+00:00');
