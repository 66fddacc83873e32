-- Takes away the stand-in, recognised by its comments, and nothing that somebody else made.

DO $$
BEGIN
  IF pg_catalog.obj_description(pg_catalog.to_regclass('auth.users'), 'pg_class') LIKE 'gemba''s stand-in%' THEN
    DROP TABLE auth.users;
  END IF;
  IF pg_catalog.obj_description(pg_catalog.to_regnamespace('auth'), 'pg_namespace') LIKE 'gemba''s stand-in%' THEN
    DROP FUNCTION IF EXISTS auth.role();
    DROP FUNCTION IF EXISTS auth.uid();
    DROP FUNCTION IF EXISTS auth.jwt();
    DROP SCHEMA auth;
  END IF;
END $$;
