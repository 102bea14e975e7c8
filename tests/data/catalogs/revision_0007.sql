-- Somebody said that what is labelled is enough.

UPDATE mir_label_tasks SET enough_at = '2026-03-04 12:00:00.250000+00:00' WHERE id = 2;
