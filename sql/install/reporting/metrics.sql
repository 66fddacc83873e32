-- Metrics are JSON objects of numbers; this adds them up.

CREATE FUNCTION reporting._metrics_add(internal, jsonb) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_metrics_add';
CREATE FUNCTION reporting._metrics_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_metrics_combine';
CREATE FUNCTION reporting._metrics_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_metrics_serialize';
CREATE FUNCTION reporting._metrics_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_metrics_deserialize';
CREATE FUNCTION reporting._metrics_final(internal) RETURNS jsonb
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_metrics_final';

CREATE AGGREGATE reporting.metrics_sum(metrics jsonb) (
  SFUNC = reporting._metrics_add, STYPE = internal, SSPACE = 1024, FINALFUNC = reporting._metrics_final,
  COMBINEFUNC = reporting._metrics_combine, SERIALFUNC = reporting._metrics_serialize,
  DESERIALFUNC = reporting._metrics_deserialize, PARALLEL = SAFE);
