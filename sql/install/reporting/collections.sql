-- Planning collections, stopping them and letting them go on. What happens to their weeks is in weeks.sql.
--
-- Locks are taken in this order, and so nobody waits in a circle: the account's plan, weeks by date, their
-- collection. Whoever writes a week takes its collection after it, by the weeks' triggers.

-- What triggers look at -----------------------------------------------------------------------------

CREATE FUNCTION reporting._check_collection() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    done int := NEW.weeks_completed + NEW.weeks_skipped;
  BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.id, OLD.collection_id, OLD.workflow_id, OLD.instance_id, OLD.collection_type, OLD.target_weeks,
                             OLD.start_date, OLD.end_date)
       IS DISTINCT FROM (NEW.id, NEW.collection_id, NEW.workflow_id, NEW.instance_id, NEW.collection_type, NEW.target_weeks,
                         NEW.start_date, NEW.end_date) THEN
      RAISE EXCEPTION 'a collection stays what it is' USING ERRCODE = '55000', DETAIL = format('collection %s', OLD.collection_id),
        HINT = 'reporting.cancel() it and start another';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.weeks_completed, OLD.weeks_skipped, OLD.weeks_failed, OLD.progress_percentage)
       IS DISTINCT FROM (NEW.weeks_completed, NEW.weeks_skipped, NEW.weeks_failed, NEW.progress_percentage) THEN
      RAISE EXCEPTION 'counts and progress follow from the weeks' USING ERRCODE = '55000',
        DETAIL = format('collection %s', OLD.collection_id),
        HINT = 'reporting.complete_week(), fail_week() and skip_week() change weeks; the counts change with them';
    END IF;
    IF NEW.collection_id !~ '^coll_[0-9A-Za-z_-]+$' OR NEW.collection_type NOT IN ('backfill', 'weekly_update')
       OR NEW.target_weeks NOT BETWEEN 1 AND 1000 OR NEW.start_date > NEW.end_date
       OR NOT isfinite(NEW.start_date) OR NOT isfinite(NEW.end_date) THEN
      RAISE EXCEPTION 'the row is not a collection' USING ERRCODE = '23514',
        DETAIL = format('collection_id %s, collection_type %s, target_weeks %s, from %s to %s', NEW.collection_id,
                        NEW.collection_type, NEW.target_weeks, NEW.start_date, NEW.end_date),
        HINT = 'ids begin with coll_, types are backfill and weekly_update, weeks are 1 to 1000; reporting.start_collection() makes them',
        SCHEMA = 'reporting', TABLE = 'report_data_collections';
    END IF;
    IF NOT (CASE NEW.status
            WHEN 'completed' THEN NEW.cancelled_at IS NULL AND done = NEW.target_weeks
            WHEN 'failed' THEN NEW.cancelled_at IS NOT NULL OR NEW.weeks_failed > 0 AND done + NEW.weeks_failed = NEW.target_weeks
            ELSE NEW.status IN ('pending', 'running', 'paused') AND NEW.cancelled_at IS NULL AND done < NEW.target_weeks END) THEN
      RAISE EXCEPTION 'the collection is not in this state' USING ERRCODE = '23514',
        DETAIL = format('collection %s with %s of %s weeks done and %s failed is not %s', NEW.collection_id, done, NEW.target_weeks,
                        NEW.weeks_failed, NEW.status),
        HINT = 'reporting.pause(), resume(), retry_failed() and cancel() change what may be changed',
        SCHEMA = 'reporting', TABLE = 'report_data_collections';
    END IF;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION reporting._check_week() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    plan record;
    state text;
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT c.workflow_id, c.instance_id, c.status, c.start_date, c.end_date, c.target_weeks, c.collection_id,
             (SELECT count(*) FROM reporting.report_data_weeks w WHERE w.collection_id = c.id) AS weeks,
             (SELECT min(w.week_start_date) FROM reporting.report_data_weeks w
               WHERE w.collection_id = c.id AND w.week_start_date <= NEW.week_end_date AND w.week_end_date >= NEW.week_start_date
                 AND w.week_start_date <> NEW.week_start_date) AS beside
        INTO plan FROM reporting.report_data_collections c WHERE c.id = NEW.collection_id FOR NO KEY UPDATE;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'the collection does not exist' USING ERRCODE = '23503',
          DETAIL = format('collection_id %s', coalesce(NEW.collection_id::text, 'NULL')),
          HINT = 'reporting.start_collection() makes a collection and its weeks',
          SCHEMA = 'reporting', TABLE = 'report_data_weeks';
      END IF;
      -- Its weeks are what it says of itself: as many as it counts to, within its days, each day once.
      IF plan.weeks >= plan.target_weeks OR NEW.week_start_date < plan.start_date OR NEW.week_end_date > plan.end_date
         OR plan.beside IS NOT NULL THEN
        RAISE EXCEPTION 'the week is none of the collection''s' USING ERRCODE = '23514',
          DETAIL = format('week %s to %s; collection %s has %s of %s weeks, from %s to %s%s', NEW.week_start_date, NEW.week_end_date,
                          plan.collection_id, plan.weeks, plan.target_weeks, plan.start_date, plan.end_date,
                          coalesce(', one of them at ' || plan.beside, '')),
          HINT = 'start another collection', SCHEMA = 'reporting', TABLE = 'report_data_weeks';
      END IF;
      NEW.workflow_id := plan.workflow_id;
      NEW.instance_id := plan.instance_id;
      state := plan.status;
      IF NEW.status = 'pending' THEN
        NEW.claimable_at := CASE WHEN state = 'running' THEN clock_timestamp() END;
      END IF;
      IF NEW.week_start_date > NEW.week_end_date OR NEW.week_end_date - NEW.week_start_date > 6
         OR NOT isfinite(NEW.week_start_date) OR NOT isfinite(NEW.week_end_date) THEN
        RAISE EXCEPTION 'a week has one to seven days' USING ERRCODE = '23514',
          DETAIL = format('from %s to %s', NEW.week_start_date, NEW.week_end_date),
          HINT = 'week_end_date is the last day of the week', SCHEMA = 'reporting', TABLE = 'report_data_weeks';
      END IF;
    ELSIF NEW.status <> OLD.status THEN
      -- What the collection has counted as done stays so.
      IF OLD.status IN ('completed', 'skipped') THEN
        RAISE EXCEPTION 'the week is done' USING ERRCODE = '55000',
          DETAIL = format('week %s of %s is %s', OLD.id, OLD.week_start_date, OLD.status),
          HINT = 'to collect it again, start another collection', SCHEMA = 'reporting', TABLE = 'report_data_weeks';
      END IF;
      IF NEW.status = 'running' AND OLD.status <> 'pending' THEN
        -- Refused below.
        NEW.slot := NULL;
      ELSIF NEW.status = 'pending' THEN
        -- Under its lock, so that nobody pauses or cancels the collection meanwhile.
        SELECT c.status INTO state FROM reporting.report_data_collections c WHERE c.id = NEW.collection_id FOR NO KEY UPDATE;
        NEW.claimable_at := CASE WHEN state = 'running' THEN coalesce(NEW.claimable_at, clock_timestamp()) END;
      END IF;
    ELSIF NEW.claimable_at IS NOT NULL AND OLD.claimable_at IS NULL THEN
      -- Of a collection that does not run, nothing is handed out.
      SELECT c.status INTO state FROM reporting.report_data_collections c WHERE c.id = NEW.collection_id FOR NO KEY UPDATE;
      NEW.claimable_at := CASE WHEN state = 'running' THEN NEW.claimable_at END;
    END IF;
    IF NEW.status = 'running' THEN
      NEW.claimable_at := NULL;
      IF NEW.claim IS NULL OR NEW.slot IS NULL OR NEW.lease IS NULL OR NEW.lease_expires_at IS NULL THEN
        RAISE EXCEPTION 'a week runs when it has been claimed' USING ERRCODE = '55000', DETAIL = format('week %s', NEW.id),
          HINT = 'reporting.claim_week() hands out the next one', SCHEMA = 'reporting', TABLE = 'report_data_weeks';
      END IF;
    ELSE
      NEW.slot := NULL;
      NEW.lease := NULL;
      NEW.lease_expires_at := NULL;
      IF NEW.status <> 'pending' THEN
        NEW.claimable_at := NULL;
        IF NEW.status NOT IN ('completed', 'failed', 'skipped') THEN
          RAISE EXCEPTION 'there is no such state of a week' USING ERRCODE = '23514', DETAIL = format('status %s', NEW.status),
            HINT = 'use pending, running, completed, failed or skipped', SCHEMA = 'reporting', TABLE = 'report_data_weeks';
        END IF;
      END IF;
    END IF;
    IF NEW.row_count < 0 OR NEW.attempts < 0 THEN
      RAISE EXCEPTION 'counts must not be negative' USING ERRCODE = '23514',
        DETAIL = format('row_count %s, attempts %s', NEW.row_count, NEW.attempts), HINT = 'leave out what is not known',
        SCHEMA = 'reporting', TABLE = 'report_data_weeks';
    END IF;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION reporting._keep_week() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF TG_OP = 'UPDATE' THEN
      IF (OLD.id, OLD.collection_id, OLD.workflow_id, OLD.instance_id, OLD.week_start_date, OLD.week_end_date)
         IS NOT DISTINCT FROM
         (NEW.id, NEW.collection_id, NEW.workflow_id, NEW.instance_id, NEW.week_start_date, NEW.week_end_date) THEN
        RETURN NEW;
      END IF;
    ELSIF NOT EXISTS (SELECT FROM reporting.report_data_collections c WHERE c.id = OLD.collection_id) THEN
      RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a collection''s weeks stay what they are' USING ERRCODE = '55000',
      DETAIL = format('week %s of %s', OLD.id, OLD.week_start_date),
      HINT = 'reporting.skip_week() leaves one out; all are deleted with their collection',
      SCHEMA = 'reporting', TABLE = 'report_data_weeks';
  END
  $body$;

-- The collection follows its weeks. With the extension's rights: nobody else may write its counts.
CREATE FUNCTION reporting._count_week() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    more_completed int := (NEW.status = 'completed')::int;
    more_skipped int := (NEW.status = 'skipped')::int;
    more_failed int := (NEW.status = 'failed')::int;
    nothing text;
  BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status = 'failed' THEN
      more_failed := -1;
    END IF;
    -- It goes back to where it came from before anything was counted.
    IF more_completed = 0 AND more_skipped = 0 AND more_failed = 0 THEN
      RETURN NULL;
    END IF;
    -- (As PERFORM, without a statement of its own.)
    nothing := gemba._refuse_foreign_owner('reporting.report_data_collections');
    UPDATE reporting.report_data_collections c
       SET weeks_completed = c.weeks_completed + more_completed,
           weeks_skipped = c.weeks_skipped + more_skipped,
           weeks_failed = c.weeks_failed + more_failed,
           progress_percentage = greatest(c.progress_percentage,
             100 * (c.weeks_completed + c.weeks_skipped + more_completed + more_skipped) / c.target_weeks),
           status = CASE
             WHEN c.cancelled_at IS NOT NULL THEN 'failed'
             WHEN c.weeks_completed + c.weeks_skipped + more_completed + more_skipped = c.target_weeks THEN 'completed'
             WHEN c.status = 'paused' THEN 'paused'
             WHEN c.weeks_completed + c.weeks_skipped + c.weeks_failed + more_completed + more_skipped + more_failed
                  = c.target_weeks THEN 'failed'
             -- It had ended, and waits for its turn again.
             WHEN c.status = 'failed' THEN 'pending'
             ELSE c.status END,
           error_message = CASE
             WHEN c.cancelled_at IS NOT NULL THEN c.error_message
             WHEN c.weeks_failed + more_failed > 0
                  AND c.weeks_completed + c.weeks_skipped + c.weeks_failed + more_completed + more_skipped + more_failed
                      = c.target_weeks THEN format('%s of %s weeks failed', c.weeks_failed + more_failed, c.target_weeks)
             WHEN more_failed < 0 THEN NULL
             ELSE c.error_message END
     WHERE c.id = NEW.collection_id;
    RETURN NULL;
  END
  $body$;

-- Planning ------------------------------------------------------------------------------------------

-- Weeks of a workflow on an account that new ones must not overlap, unless they are the same: those of all
-- collections but cancelled ones, what those had done, and what the aggregates hold.
CREATE FUNCTION reporting._planned_weeks(workflow uuid, instance uuid, but uuid)
  RETURNS TABLE (first_day date, last_day date, is_done boolean)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT w.week_start_date, w.week_end_date, bool_or(w.status IN ('completed', 'skipped'))
      FROM (SELECT k.week_start_date, k.week_end_date, k.status
              FROM reporting.report_data_collections c JOIN reporting.report_data_weeks k ON k.collection_id = c.id
             WHERE c.workflow_id = $1 AND c.instance_id = $2 AND c.id IS DISTINCT FROM $3
               AND (c.cancelled_at IS NULL OR k.status IN ('completed', 'skipped'))
            UNION ALL
            SELECT a.data_date, split_part(a.aggregation_key, '_', 2)::date, 'recorded'
              FROM reporting.report_data_aggregates a
             WHERE a.workflow_id = $1 AND a.instance_id = $2 AND a.aggregation_type = 'weekly'
               AND a.aggregation_key ~ '^\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d$') AS w
     GROUP BY w.week_start_date, w.week_end_date
  $body$;

-- Ends of so many weeks that go with what is there, the nearest first.
CREATE FUNCTION reporting._fitting_ends(workflow uuid, instance uuid, wanted date, weeks int, from_date date, to_date date)
  RETURNS SETOF date
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH planned AS MATERIALIZED (SELECT p.first_day, p.last_day FROM reporting._planned_weeks($1, $2, NULL) AS p)
    SELECT e.day
      FROM (SELECT $5 + n AS day FROM generate_series(0, $6 - $5) AS n) AS e
     WHERE NOT EXISTS (
             SELECT FROM planned p
              WHERE p.first_day <= e.day AND p.last_day > e.day - 7 * $4
                AND NOT (p.last_day - p.first_day = 6 AND p.last_day <= e.day AND p.first_day > e.day - 7 * $4
                         AND (e.day - p.last_day) % 7 = 0))
     ORDER BY abs(e.day - $3), e.day
  $body$;

-- Weeks that are missing up to a day: holes, and what follows the last one that was collected; holes first where there
-- are too many. Whole ones, unless the last may be cut.
CREATE FUNCTION reporting._missing_weeks(workflow uuid, instance uuid, but uuid, until date, may_cut boolean, most int)
  RETURNS TABLE (first_day date, last_day date)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    firsts date[];
    lasts date[];
    missing_firsts date[] := '{}';
    missing_lasts date[] := '{}';
    from_day date;
    to_day date;
    in_the_way date;
    hole record;
  BEGIN
    SELECT array_agg(p.first_day), array_agg(p.last_day), max(p.last_day) FILTER (WHERE p.is_done) + 1
      INTO firsts, lasts, from_day
      FROM reporting._planned_weeks(workflow, instance, but) AS p;
    FOR hole IN
      SELECT DISTINCT k.week_start_date AS f, k.week_end_date AS l
        FROM reporting.report_data_collections c JOIN reporting.report_data_weeks k ON k.collection_id = c.id
       WHERE c.workflow_id = workflow AND c.instance_id = instance AND c.id IS DISTINCT FROM but
         AND k.status NOT IN ('completed', 'skipped') AND k.week_end_date <= until
         AND NOT EXISTS (SELECT FROM reporting._planned_weeks(workflow, instance, but) AS p
                          WHERE p.first_day <= k.week_end_date AND p.last_day >= k.week_start_date
                            AND (p.is_done OR (p.first_day, p.last_day) <> (k.week_start_date, k.week_end_date)))
       ORDER BY 1, 2
    LOOP
      EXIT WHEN cardinality(missing_firsts) >= most;
      -- Of two cancelled collections that went different ways, the first counts.
      IF hole.f > ALL (missing_lasts) THEN
        missing_firsts := missing_firsts || hole.f;
        missing_lasts := missing_lasts || hole.l;
      END IF;
    END LOOP;
    WHILE cardinality(missing_firsts) < most AND from_day <= until LOOP
      to_day := least(from_day + 6, until);
      EXIT WHEN to_day < from_day + 6 AND NOT may_cut;
      SELECT max(o.l) INTO in_the_way
        FROM (SELECT h.f, h.l FROM unnest(missing_firsts, missing_lasts) AS h (f, l)
              UNION ALL
              SELECT p.f, p.l FROM unnest(firsts, lasts) AS p (f, l) WHERE (p.f, p.l) <> (from_day, to_day)) AS o
       WHERE o.f <= to_day AND o.l >= from_day;
      IF in_the_way IS NULL THEN
        missing_firsts := missing_firsts || from_day;
        missing_lasts := missing_lasts || to_day;
        in_the_way := to_day;
      END IF;
      from_day := in_the_way + 1;
    END LOOP;
    RETURN QUERY SELECT m.f, m.l FROM unnest(missing_firsts, missing_lasts) AS m (f, l) ORDER BY m.f;
  END
  $body$;

-- One plans at a time for an account of a workflow.
CREATE FUNCTION reporting._take_turns(workflow uuid, instance uuid) RETURNS void
  LANGUAGE sql SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT pg_advisory_xact_lock(hashtextextended(format('reporting.start_collection %s %s', $1, $2), 0)) $body$;

CREATE FUNCTION reporting.start_collection(
    workflow uuid, instance uuid DEFAULT NULL, type text DEFAULT 'backfill', target_weeks int DEFAULT NULL,
    OUT collection_id text, OUT id uuid, OUT weeks int, OUT start_date date, INOUT end_date date DEFAULT NULL,
    OUT status text, OUT created boolean, configuration jsonb DEFAULT '{}')
  -- With the extension's rights, because users start what they may not write.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    serves boolean := pg_has_role(gemba._caller()::name, 'service_role', 'MEMBER');
    me uuid := gemba._user();
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    wanted date := start_collection.end_date;
    rules reporting.settings;
    flow record;
    account uuid;
    opened reporting.report_data_collections;
    firsts date[];
    lasts date[];
    nearest date;
    until date;
    number int;
  BEGIN
    PERFORM gemba._require_current_snapshots('collections cannot be planned');
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_collections');
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_weeks');
    SELECT w.id, w.instance_id, w.user_id INTO flow FROM reporting.workflows w
     WHERE w.id = workflow AND (serves OR w.user_id = me);
    IF NOT FOUND THEN
      RAISE EXCEPTION 'the workflow does not exist' USING ERRCODE = 'P0002',
        DETAIL = format('workflow %s', coalesce(workflow::text, 'NULL')),
        HINT = 'see id in reporting.workflows; one that is not yours is not there for you';
    END IF;
    account := coalesce(instance, flow.instance_id);
    IF account IS NULL THEN
      RAISE EXCEPTION 'the workflow has no account' USING ERRCODE = '22023', DETAIL = format('workflow %s', workflow),
        HINT = 'say on which instance to collect, or set instance_id of the workflow';
    END IF;
    IF NOT serves AND account IS DISTINCT FROM flow.instance_id
       OR NOT EXISTS (SELECT FROM reporting.amc_instances i WHERE i.id = account) THEN
      RAISE EXCEPTION 'the account does not exist' USING ERRCODE = 'P0002', DETAIL = format('instance %s', account),
        HINT = 'see id in reporting.amc_instances; users collect on their workflow''s own';
    END IF;
    SELECT * INTO rules FROM reporting.settings s;
    IF type IS NULL OR type NOT IN ('backfill', 'weekly_update') THEN
      RAISE EXCEPTION 'there is no such type of collection' USING ERRCODE = '22023', DETAIL = format('type %s', coalesce(type, 'NULL')),
        HINT = 'use ''backfill'' or ''weekly_update''';
    END IF;
    IF target_weeks < 1 OR target_weeks > rules.max_weeks THEN
      RAISE EXCEPTION 'target_weeks is out of its range' USING ERRCODE = '22023', DETAIL = format('target_weeks %s', target_weeks),
        HINT = format('give 1 to %s weeks, which is reporting.settings.max_weeks', rules.max_weeks);
    END IF;
    IF configuration IS NULL OR jsonb_typeof(configuration) <> 'object' THEN
      RAISE EXCEPTION 'the configuration is not an object' USING ERRCODE = '22023',
        DETAIL = format('configuration %s', coalesce(left(configuration::text, 200), 'NULL')), HINT = 'give a JSON object';
    END IF;
    IF wanted >= today OR wanted < '1990-01-01' THEN
      RAISE EXCEPTION 'end_date is out of its range' USING ERRCODE = '22023',
        DETAIL = format('end_date %s, and today is %s (UTC)', wanted, today),
        HINT = 'the last day of a collection is over, and not before 1990; without end_date it is reporting.settings.end_lag_days ago';
    END IF;
    PERFORM reporting._take_turns(flow.id, account);
    until := coalesce(wanted, least(today - rules.end_lag_days, today - 1));
    SELECT * INTO opened FROM reporting.report_data_collections c
     WHERE c.workflow_id = flow.id AND c.instance_id = account AND c.status IN ('pending', 'running', 'paused');

    IF type = 'backfill' THEN
      number := coalesce(target_weeks, rules.max_weeks);
      -- In step with the weeks that there are, where nobody says when to end.
      SELECT f INTO nearest
        FROM reporting._fitting_ends(flow.id, account, until, number, CASE WHEN wanted IS NULL THEN until - 6 ELSE until END, until) AS f
       LIMIT 1;
      firsts := ARRAY(SELECT coalesce(nearest, until) - 7 * n + 1 FROM generate_series(number, 1, -1) AS n);
      lasts := ARRAY(SELECT d + 6 FROM unnest(firsts) AS d);
      IF nearest IS NULL AND opened.id IS NULL THEN
        SELECT f INTO nearest
          FROM reporting._fitting_ends(flow.id, account, until, number, greatest(until - 800, '1990-01-01'), least(until + 800, today - 1)) AS f
         LIMIT 1;
        RAISE EXCEPTION 'the weeks would overlap others of this workflow and account' USING ERRCODE = '22023',
          DETAIL = format('%s weeks from %s to %s', number, firsts[1], until),
          HINT = CASE WHEN nearest IS NULL THEN 'no end_date near it fits; take fewer weeks, or a weekly_update'
                      ELSE format('the nearest end_date that fits is %s; a weekly_update collects what is missing', nearest) END;
      END IF;
    ELSE
      IF opened.id IS NULL OR opened.collection_type = 'weekly_update' THEN
        IF NOT EXISTS (SELECT FROM reporting._planned_weeks(flow.id, account, opened.id) AS p WHERE p.is_done) THEN
          RAISE EXCEPTION 'there is nothing to go on from' USING ERRCODE = '55000',
            DETAIL = format('no week of workflow %s has been collected on account %s', flow.id, account),
            HINT = 'start a backfill first';
        END IF;
        SELECT array_agg(m.first_day), array_agg(m.last_day) INTO firsts, lasts
          FROM reporting._missing_weeks(flow.id, account, opened.id, until, wanted IS NOT NULL,
                                        coalesce(target_weeks, rules.max_weeks)) AS m;
      END IF;
      IF firsts IS NULL AND opened.id IS NULL THEN
        -- Nothing is missing.
        SELECT c.collection_id, c.id, c.target_weeks, c.start_date, c.end_date, c.status, false
          INTO collection_id, id, weeks, start_date, end_date, status, created
          FROM reporting.report_data_collections c
         WHERE c.workflow_id = flow.id AND c.instance_id = account
         ORDER BY c.end_date DESC, c.created_at DESC, c.id LIMIT 1;
        RETURN;
      END IF;
    END IF;

    -- Asked for before?
    IF opened.id IS NULL THEN
      SELECT * INTO opened FROM reporting.report_data_collections c
       WHERE c.workflow_id = flow.id AND c.instance_id = account AND c.status = 'completed'
         AND ARRAY(SELECT k.week_start_date FROM reporting.report_data_weeks k WHERE k.collection_id = c.id ORDER BY 1) = firsts
         AND ARRAY(SELECT k.week_end_date FROM reporting.report_data_weeks k WHERE k.collection_id = c.id ORDER BY 1) = lasts
       ORDER BY c.created_at DESC, c.id LIMIT 1;
    ELSIF opened.collection_type <> type
       OR NOT (type = 'weekly_update' AND wanted IS NULL AND target_weeks IS NULL)
          AND (ARRAY(SELECT k.week_start_date FROM reporting.report_data_weeks k WHERE k.collection_id = opened.id ORDER BY 1)
                 IS DISTINCT FROM firsts
               OR ARRAY(SELECT k.week_end_date FROM reporting.report_data_weeks k WHERE k.collection_id = opened.id ORDER BY 1)
                 IS DISTINCT FROM lasts) THEN
      RAISE EXCEPTION 'another collection of this workflow and account is open' USING ERRCODE = '55000',
        DETAIL = format('collection %s, a %s from %s to %s, is %s', opened.collection_id, opened.collection_type, opened.start_date,
                        opened.end_date, opened.status),
        HINT = 'wait until it has ended, or reporting.cancel() it';
    END IF;
    IF opened.id IS NULL THEN
      INSERT INTO reporting.report_data_collections AS c
             (workflow_id, instance_id, user_id, collection_type, target_weeks, start_date, end_date, configuration)
      VALUES (flow.id, account, CASE WHEN serves THEN flow.user_id ELSE me END, type, cardinality(firsts), firsts[1],
              lasts[cardinality(lasts)], start_collection.configuration)
      RETURNING c.* INTO opened;
      INSERT INTO reporting.report_data_weeks (collection_id, week_start_date, week_end_date)
      SELECT opened.id, p.f, p.l FROM unnest(firsts, lasts) AS p (f, l) ORDER BY p.f;
      created := true;
    ELSE
      created := false;
    END IF;
    collection_id := opened.collection_id;
    id := opened.id;
    weeks := opened.target_weeks;
    start_date := opened.start_date;
    end_date := opened.end_date;
    status := opened.status;
  END
  $body$;

-- Whose turn it is ----------------------------------------------------------------------------------

-- Lets collections that wait run, as far as there is room, or only this one; returns how many. With the extension's
-- rights: their status is written by nobody else.
CREATE FUNCTION reporting._admit(chosen uuid DEFAULT NULL) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    room int;
    first_turn bigint;
    admitted int := 0;
    r record;
    held record;
  BEGIN
    -- One counts at a time, until the end of its transaction. The others do without: what waits is not lost.
    IF NOT pg_try_advisory_xact_lock(1919250544, 0) THEN
      RETURN 0;
    END IF;
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_collections');
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_weeks');
    SELECT s.max_running_collections - (SELECT count(*) FROM reporting.report_data_collections c WHERE c.status = 'running')
      INTO room FROM reporting.settings s;
    -- A newcomer's first week is as near as those of the others that come next, and not before all of them.
    SELECT coalesce(min(w.turn), 0) INTO first_turn FROM reporting.report_data_weeks w WHERE w.claimable_at IS NOT NULL;
    FOR r IN SELECT c.id FROM reporting.report_data_collections c
              WHERE c.status = 'pending' AND (chosen IS NULL OR c.id = chosen) ORDER BY c.created_at, c.id
    LOOP
      EXIT WHEN admitted >= room;
      -- Somebody is about to change one of them, or has paused or cancelled it: not now.
      SELECT count(*) AS weeks,
             (SELECT count(*) FROM (SELECT FROM reporting.report_data_weeks k
                                     WHERE k.collection_id = r.id AND k.status = 'pending'
                                     ORDER BY k.week_start_date FOR NO KEY UPDATE SKIP LOCKED) AS l) AS locked
        INTO held FROM reporting.report_data_weeks w WHERE w.collection_id = r.id AND w.status = 'pending';
      CONTINUE WHEN held.weeks = 0 OR held.locked < held.weeks;
      PERFORM FROM reporting.report_data_collections c WHERE c.id = r.id AND c.status = 'pending' FOR NO KEY UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;
      UPDATE reporting.report_data_collections c SET status = 'running' WHERE c.id = r.id;
      UPDATE reporting.report_data_weeks w SET turn = first_turn + o.place, claimable_at = clock_timestamp()
        FROM (SELECT k.id, row_number() OVER (ORDER BY k.week_start_date) - 1 AS place FROM reporting.report_data_weeks k
               WHERE k.collection_id = r.id AND k.status = 'pending') AS o
       WHERE w.id = o.id;
      admitted := admitted + 1;
    END LOOP;
    RETURN admitted;
  END
  $body$;

-- The collection of an id, if the caller may stop it; what others may not see does not exist for them.
CREATE FUNCTION reporting._own_collection(collection text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    found_id uuid := (SELECT c.id FROM reporting.report_data_collections c
                       WHERE c.collection_id = collection
                         AND (pg_has_role(gemba._caller()::name, 'service_role', 'MEMBER') OR c.user_id = gemba._user()));
  BEGIN
    IF found_id IS NULL THEN
      RAISE EXCEPTION 'the collection does not exist' USING ERRCODE = 'P0002',
        DETAIL = format('collection %s', coalesce(collection, 'NULL')),
        HINT = 'see collection_id in reporting.collection_progress; one that is not yours is not there for you';
    END IF;
    RETURN found_id;
  END
  $body$;

-- Waits for whoever works on one of its weeks at this moment, and keeps everybody off it.
CREATE FUNCTION reporting._hold(collection text) RETURNS uuid
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    wanted uuid := reporting._own_collection(collection);
  BEGIN
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_collections');
    PERFORM gemba._refuse_foreign_owner('reporting.report_data_weeks');
    PERFORM reporting._take_turns(c.workflow_id, c.instance_id) FROM reporting.report_data_collections c WHERE c.id = wanted;
    PERFORM FROM reporting.report_data_weeks w
      WHERE w.collection_id = wanted AND w.status IN ('pending', 'running', 'failed')
      ORDER BY w.week_start_date FOR NO KEY UPDATE;
    PERFORM FROM reporting.report_data_collections c WHERE c.id = wanted FOR NO KEY UPDATE;
    RETURN wanted;
  END
  $body$;

CREATE FUNCTION reporting._refuse_cancelled(collection text, cancelled_at timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF cancelled_at IS NOT NULL THEN
      RAISE EXCEPTION 'the collection was cancelled' USING ERRCODE = '55000',
        DETAIL = format('collection %s, at %s', collection, cancelled_at),
        HINT = 'that is for good; reporting.start_collection() plans its weeks again';
    END IF;
  END
  $body$;

CREATE FUNCTION reporting.pause(collection text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held_id uuid := reporting._hold(collection);
    held reporting.report_data_collections;
  BEGIN
    SELECT * INTO held FROM reporting.report_data_collections c WHERE c.id = held_id;
    IF held.status IN ('completed', 'failed') THEN
      RAISE EXCEPTION 'the collection has ended' USING ERRCODE = '55000',
        DETAIL = format('collection %s is %s', held.collection_id, held.status), HINT = 'there is nothing to pause';
    END IF;
    IF held.status <> 'paused' THEN
      UPDATE reporting.report_data_collections c SET status = 'paused' WHERE c.id = held.id;
      UPDATE reporting.report_data_weeks w SET claimable_at = NULL WHERE w.collection_id = held.id AND w.claimable_at IS NOT NULL;
    END IF;
    RETURN 'paused';
  END
  $body$;

-- Failed weeks of it are tried again from the beginning; returns how many.
CREATE FUNCTION reporting._retry(held_id uuid) RETURNS int
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held reporting.report_data_collections;
    other text;
    retried int;
  BEGIN
    SELECT * INTO held FROM reporting.report_data_collections c WHERE c.id = held_id;
    IF held.status = 'failed' THEN
      SELECT c.collection_id INTO other FROM reporting.report_data_collections c
       WHERE c.workflow_id = held.workflow_id AND c.instance_id = held.instance_id AND c.status IN ('pending', 'running', 'paused');
      IF FOUND THEN
        RAISE EXCEPTION 'another collection of this workflow and account is open' USING ERRCODE = '55000',
          DETAIL = format('collection %s, while %s waits', other, held.collection_id),
          HINT = 'wait until it has ended, or reporting.cancel() it';
      END IF;
    END IF;
    UPDATE reporting.report_data_weeks w SET status = 'pending', attempts = 0, error_message = NULL
      FROM (SELECT k.id FROM reporting.report_data_weeks k
             WHERE k.collection_id = held.id AND k.status = 'failed' ORDER BY k.week_start_date) AS o
     WHERE w.id = o.id;
    GET DIAGNOSTICS retried = ROW_COUNT;
    RETURN retried;
  END
  $body$;

CREATE FUNCTION reporting.resume(collection text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held_id uuid := reporting._hold(collection);
    held reporting.report_data_collections;
  BEGIN
    SELECT * INTO held FROM reporting.report_data_collections c WHERE c.id = held_id;
    PERFORM reporting._refuse_cancelled(held.collection_id, held.cancelled_at);
    IF held.status NOT IN ('paused', 'failed') THEN
      RETURN held.status;
    END IF;
    PERFORM reporting._retry(held.id);
    UPDATE reporting.report_data_weeks w SET attempts = 0
     WHERE w.collection_id = held.id AND w.status = 'pending' AND w.attempts > 0;
    UPDATE reporting.report_data_collections c SET status = 'pending', error_message = NULL
     WHERE c.id = held.id AND c.status = 'paused';
    -- One that had its turn goes on at once where there is room.
    IF EXISTS (SELECT FROM reporting.report_data_weeks w WHERE w.collection_id = held.id AND w.claim IS NOT NULL) THEN
      PERFORM reporting._admit(held.id);
    END IF;
    RETURN (SELECT c.status FROM reporting.report_data_collections c WHERE c.id = held.id);
  END
  $body$;

CREATE FUNCTION reporting.retry_failed(collection text) RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held_id uuid := reporting._hold(collection);
    held reporting.report_data_collections;
    retried int;
  BEGIN
    SELECT * INTO held FROM reporting.report_data_collections c WHERE c.id = held_id;
    PERFORM reporting._refuse_cancelled(held.collection_id, held.cancelled_at);
    retried := reporting._retry(held.id);
    IF held.status = 'failed' THEN
      PERFORM reporting._admit(held.id);
    END IF;
    RETURN retried;
  END
  $body$;

CREATE FUNCTION reporting.cancel(collection text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    held_id uuid := reporting._hold(collection);
    held reporting.report_data_collections;
  BEGIN
    SELECT * INTO held FROM reporting.report_data_collections c WHERE c.id = held_id;
    IF held.status = 'completed' THEN
      RAISE EXCEPTION 'the collection is complete' USING ERRCODE = '55000', DETAIL = format('collection %s', held.collection_id),
        HINT = 'there is nothing to cancel';
    END IF;
    IF held.cancelled_at IS NULL THEN
      UPDATE reporting.report_data_collections c
         SET status = 'failed', cancelled_at = clock_timestamp(), error_message = 'cancelled'
       WHERE c.id = held.id;
      UPDATE reporting.report_data_weeks w SET status = 'pending', worker = NULL
       WHERE w.collection_id = held.id AND w.status = 'running';
      UPDATE reporting.report_data_weeks w SET claimable_at = NULL
       WHERE w.collection_id = held.id AND w.claimable_at IS NOT NULL;
    END IF;
    RETURN 'failed';
  END
  $body$;
