-- What policies ask for each row is a plain C function, which can remember its answers as long as the query runs.
CREATE FUNCTION reporting.is_shown(workflow uuid) RETURNS boolean
  LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_is_shown';
