-- A stand-in for Supabase's auth schema: only what is missing, so that on a database that has the
-- real one nothing at all happens here. None of it becomes a member of the extension.

DO $$
BEGIN
  IF pg_catalog.to_regnamespace('auth') IS NULL THEN
    CREATE SCHEMA auth;
    COMMENT ON SCHEMA auth IS 'gemba''s stand-in for Supabase''s auth schema';
    GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
  END IF;

  IF pg_catalog.to_regclass('auth.users') IS NULL THEN
    CREATE TABLE auth.users (
      id          uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
      email       text UNIQUE,
      created_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
    );
    COMMENT ON TABLE auth.users IS 'gemba''s stand-in for Supabase''s auth.users';
    ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
    REVOKE ALL ON auth.users FROM PUBLIC, anon, authenticated;
    GRANT SELECT, INSERT, UPDATE, DELETE ON auth.users TO service_role;
    CREATE POLICY users_service_all ON auth.users TO service_role USING (true) WITH CHECK (true);
  END IF;

  -- Without a SET clause, and every name qualified instead: so they can be inlined into the policies
  -- that call them.
  IF pg_catalog.to_regprocedure('auth.jwt()') IS NULL THEN
    CREATE FUNCTION auth.jwt() RETURNS jsonb
      LANGUAGE sql STABLE PARALLEL SAFE
      AS $body$
        SELECT CASE WHEN pg_catalog.current_setting('request.jwt.claims', true) OPERATOR(pg_catalog.<>) ''
                    THEN pg_catalog.current_setting('request.jwt.claims', true)::pg_catalog.jsonb END
      $body$;
    COMMENT ON FUNCTION auth.jwt() IS 'the claims of the request''s token, from the setting request.jwt.claims; NULL without one';
  END IF;

  IF pg_catalog.to_regprocedure('auth.uid()') IS NULL THEN
    CREATE FUNCTION auth.uid() RETURNS uuid
      LANGUAGE sql STABLE PARALLEL SAFE
      AS $body$
        SELECT CASE WHEN auth.jwt() OPERATOR(pg_catalog.->>) 'sub' OPERATOR(pg_catalog.<>) ''
                    THEN (auth.jwt() OPERATOR(pg_catalog.->>) 'sub')::pg_catalog.uuid END
      $body$;
    COMMENT ON FUNCTION auth.uid() IS 'the id of the logged-in user; NULL without one';
  END IF;

  IF pg_catalog.to_regprocedure('auth.role()') IS NULL THEN
    CREATE FUNCTION auth.role() RETURNS text
      LANGUAGE sql STABLE PARALLEL SAFE
      AS $body$
        SELECT CASE WHEN auth.jwt() OPERATOR(pg_catalog.->>) 'role' OPERATOR(pg_catalog.<>) ''
                    THEN auth.jwt() OPERATOR(pg_catalog.->>) 'role' END
      $body$;
    COMMENT ON FUNCTION auth.role() IS 'the role named by the request''s token; NULL without one';
  END IF;
END $$;
