-- A project that was renamed, and one that was deleted.

INSERT INTO mir_projects (id, key, name, spec, created_at, updated_at, deleted_at)
VALUES (2, 'street', 'roads', '{"classes": ["one", "two"], "executor": {"name": "sample"}, "labels": {"backend": "oracle"}, "mining": {"budget": 4, "strategy": "entropy"}, "name": "roads", "seed": 5, "sources": {"pool": "/d/p.zip", "training": "/d/t.zip", "validation": "/d/v.zip"}}', '2026-03-02 12:00:00.250000+00:00', '2026-03-02 12:00:01.250000+00:00', NULL);

INSERT INTO mir_projects (id, key, name, spec, created_at, updated_at, deleted_at)
VALUES (3, 'old', 'old', '{"classes": ["one", "two"], "executor": {"name": "sample"}, "labels": {"backend": "oracle"}, "mining": {"budget": 4, "strategy": "entropy"}, "name": "old", "seed": 5, "sources": {"pool": "/d/p.zip", "training": "/d/t.zip", "validation": "/d/v.zip"}}', '2026-03-02 12:00:00.250000+00:00', '2026-03-02 12:00:01.250000+00:00', '2026-03-03 12:00:00.250000+00:00');
