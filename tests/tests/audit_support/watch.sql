CREATE SCHEMA audit_test;

-- One call for what gemba.audit() and gemba.audit_options() do.
CREATE FUNCTION audit_test.watch(target regclass, exclude text[] DEFAULT '{}', mask text[] DEFAULT '{}', full_rows boolean DEFAULT false)
  RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM gemba.audit(target, VARIADIC exclude::name[]);
    PERFORM gemba.audit_options(target, mask::name[], full_rows);
  END $$;
CREATE FUNCTION audit_test.unwatch(target regclass) RETURNS void LANGUAGE sql AS 'SELECT gemba.unaudit(target)';
