INSERT INTO reporting.amc_instances (instance_id, instance_name) VALUES ('bench', 'bench');
INSERT INTO reporting.workflows (name, instance_id)
SELECT 'flow ' || n, i.id FROM reporting.amc_instances i, generate_series(1, {collections}) AS n;
