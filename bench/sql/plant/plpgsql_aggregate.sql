-- What plant.oee_agg does, in PL/pgSQL, as one writes it.
CREATE TYPE oee_sums AS (
  planned numeric, run numeric, ideal numeric, net numeric, effective numeric, total numeric, good numeric);
CREATE FUNCTION oee_add(sums oee_sums, planned numeric, down numeric, cycle numeric, total bigint, good bigint)
  RETURNS oee_sums LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
  AS $body$
  DECLARE
    run numeric := (planned - down) * 60;
    ideal numeric := cycle * total;
  BEGIN
    IF planned IS NULL OR down IS NULL OR cycle IS NULL OR total IS NULL OR good IS NULL THEN
      RETURN sums;
    END IF;
    IF planned < 0 THEN RAISE EXCEPTION 'planned_minutes is negative'; END IF;
    IF down < 0 THEN RAISE EXCEPTION 'downtime_minutes is negative'; END IF;
    IF down > planned THEN RAISE EXCEPTION 'downtime_minutes is more than was planned'; END IF;
    IF total < 0 THEN RAISE EXCEPTION 'total_count is negative'; END IF;
    IF good < 0 THEN RAISE EXCEPTION 'good_count is negative'; END IF;
    IF good > total THEN RAISE EXCEPTION 'good_count is more than the total'; END IF;
    IF cycle <= 0 THEN RAISE EXCEPTION 'ideal_cycle_seconds is not above zero'; END IF;
    sums.planned := sums.planned + planned * 60;
    sums.run := sums.run + run;
    sums.ideal := sums.ideal + ideal;
    IF ideal <= run THEN
      sums.net := sums.net + ideal;
      sums.effective := sums.effective + cycle * good;
    ELSE
      sums.net := sums.net + run;
      sums.effective := sums.effective + round(run * good / total, 12);
    END IF;
    sums.total := sums.total + total;
    sums.good := sums.good + good;
    RETURN sums;
  END
  $body$;
CREATE AGGREGATE oee_sums(numeric, numeric, numeric, bigint, bigint) (
  SFUNC = oee_add, STYPE = oee_sums, INITCOND = '(0,0,0,0,0,0,0)');

-- And as fast as it gets: strict, one check for everything, and an array that is built anew for each row.
CREATE FUNCTION oee_add_tuned(
    sums numeric[], planned numeric, down numeric, cycle numeric, total bigint, good bigint)
  RETURNS numeric[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  AS $body$
  DECLARE
    run numeric := (planned - down) * 60;
    ideal numeric := cycle * total;
  BEGIN
    IF planned < 0 OR down < 0 OR down > planned OR cycle <= 0 OR total < 0 OR good < 0 OR good > total THEN
      RAISE EXCEPTION 'no machine does this';
    END IF;
    IF ideal <= run THEN
      RETURN ARRAY[sums[1] + planned * 60, sums[2] + run, sums[3] + ideal, sums[4] + ideal, sums[5] + cycle * good,
                   sums[6] + total, sums[7] + good];
    END IF;
    RETURN ARRAY[sums[1] + planned * 60, sums[2] + run, sums[3] + ideal, sums[4] + run,
                 sums[5] + round(run * good / total, 12), sums[6] + total, sums[7] + good];
  END
  $body$;
CREATE AGGREGATE oee_sums_tuned(numeric, numeric, numeric, bigint, bigint) (
  SFUNC = oee_add_tuned, STYPE = numeric[], INITCOND = '{0,0,0,0,0,0,0}');
