-- A model with a title, and a deleted one.

UPDATE mir_packages SET title = 'Night', description = 'Trained at night' WHERE id = 1;

UPDATE mir_packages SET deleted_at = '2026-03-03 12:00:00.250000+00:00' WHERE id = 2;
