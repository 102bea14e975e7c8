-- Who labels, and where.

UPDATE mir_label_tasks SET "by" = '{"anna": 1}', page = 'http://labels/2' WHERE id = 2;
