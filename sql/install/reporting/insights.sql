-- Questions and answers about figures: recording, searching and reading them. All with the caller's rights: policies decide.

-- Whose insight it is: users write in their own name, the application in anybody's.
CREATE FUNCTION reporting._author(owner uuid, board uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    me uuid := (SELECT auth.uid());
    author uuid;
  BEGIN
    IF row_security_active('reporting.ai_insights') AND (me IS NULL OR owner <> me) THEN
      RAISE EXCEPTION 'insights are recorded in one''s own name' USING ERRCODE = '42501',
        DETAIL = format('owner %s, called by %s', coalesce(owner::text, 'NULL'), coalesce(me::text, 'nobody who is logged in')),
        HINT = 'call it with the claims of a logged-in user, or as service_role';
    END IF;
    author := coalesce(owner, me, (SELECT d.user_id FROM reporting.dashboards d WHERE d.id = board));
    IF author IS NULL THEN
      RAISE EXCEPTION 'nobody is the author of the insight' USING ERRCODE = '22023',
        DETAIL = 'owner NULL, nobody is logged in, and there is no dashboard that somebody owns',
        HINT = 'give owner => the user in whose name it is recorded';
    END IF;
    RETURN author;
  END
  $body$;

CREATE FUNCTION reporting.record_insight(
    query text, response text, dashboard text DEFAULT NULL, insight_type text DEFAULT NULL, confidence numeric DEFAULT NULL,
    data_context jsonb DEFAULT '{}', related_metrics jsonb DEFAULT '{}', conversation uuid DEFAULT NULL,
    private boolean DEFAULT NULL, owner uuid DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    board uuid := CASE WHEN dashboard IS NOT NULL
                       THEN CASE WHEN private IS FALSE THEN reporting._editable_dashboard(dashboard)
                                 ELSE reporting._dashboard(dashboard) END END;
    author uuid := reporting._author(record_insight.owner, board);
    hidden boolean := coalesce(private, board IS NULL OR row_security_active('reporting.dashboards')
                                        AND NOT EXISTS (SELECT FROM reporting.editable_dashboards() AS e WHERE e = board));
    made text;
  BEGIN
    IF query IS NULL OR response IS NULL OR query !~ '\S' OR response !~ '\S' THEN
      RAISE EXCEPTION 'a question and an answer are needed' USING ERRCODE = '22023',
        DETAIL = format('query %L, response %L', left(query, 100), left(response, 100)), HINT = 'give both as text';
    END IF;
    IF length(query) + length(response) > 200000 THEN
      RAISE EXCEPTION 'question and answer are too long' USING ERRCODE = '22023',
        DETAIL = format('%s characters', length(query) + length(response)), HINT = 'both together may have 200,000';
    END IF;
    IF confidence IS NOT NULL AND confidence NOT BETWEEN 0 AND 1 THEN
      RAISE EXCEPTION 'the confidence is out of range' USING ERRCODE = '22023',
        DETAIL = format('confidence %s', confidence), HINT = 'give 0 to 1';
    END IF;
    IF record_insight.insight_type NOT IN ('trend_analysis', 'anomaly_detection', 'optimization') THEN
      RAISE EXCEPTION 'the type of insight is not known' USING ERRCODE = '22023',
        DETAIL = format('insight_type %L', record_insight.insight_type),
        HINT = 'use trend_analysis, anomaly_detection or optimization, or leave it out';
    END IF;
    IF jsonb_typeof(record_insight.data_context) <> 'object' OR jsonb_typeof(record_insight.related_metrics) <> 'object' THEN
      RAISE EXCEPTION 'data_context and related_metrics are objects' USING ERRCODE = '22023',
        DETAIL = format('data_context %s, related_metrics %s', left(record_insight.data_context::text, 100),
                        left(record_insight.related_metrics::text, 100)),
        HINT = 'give {"key": value, …}';
    END IF;
    INSERT INTO reporting.ai_insights
           (user_id, dashboard_id, query_text, response_text, data_context, confidence_score, insight_type, related_metrics,
            conversation_id, is_private)
    VALUES (author, board, query, response, coalesce(record_insight.data_context, '{}'), trunc(confidence, 2),
            record_insight.insight_type, coalesce(record_insight.related_metrics, '{}'),
            coalesce(conversation, gen_random_uuid()), hidden)
    RETURNING insight_id INTO made;
    RETURN made;
  END
  $body$;

-- What a detector found in these workflows, unless its author has recorded the same of this dashboard before, or may not
-- read all of them: then NULL.
CREATE FUNCTION reporting._record_finding(
    dashboard text, workflows uuid[], kind text, metric text, summary text, confidence numeric, context jsonb, conversation uuid)
  RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    board uuid := reporting._dashboard(dashboard);
    author uuid := reporting._author(NULL, board);
    -- Those that the dashboard is not allowed to show. Its readers do not see these; its editors do.
    withheld uuid[] := ARRAY(SELECT w FROM unnest(workflows) AS w
                              WHERE NOT EXISTS (SELECT FROM reporting.dashboard_sources s
                                                 WHERE s.dashboard_id = board AND s.workflow_id = w));
    hidden boolean := withheld <> '{}'
                      -- Everybody reads a template, and sees no data of it.
                      OR EXISTS (SELECT FROM reporting.dashboards d WHERE d.id = board AND d.is_template AND NOT d.is_public);
    known text;
  BEGIN
    -- Whom policies do not bind may have read more than those in whose name this is recorded.
    IF NOT row_security_active('reporting.ai_insights')
       AND EXISTS (SELECT FROM unnest(withheld) AS w
                    WHERE NOT EXISTS (SELECT FROM reporting.workflows o WHERE o.id = w AND o.user_id = author)) THEN
      RETURN NULL;
    END IF;
    -- One after the other, so that the second sees what the first one has recorded.
    PERFORM pg_advisory_xact_lock(hashtextextended(format('reporting._record_finding %s %s', board, author), 0));
    SELECT i.insight_id INTO known FROM reporting.ai_insights i
     WHERE i.dashboard_id = board AND i.user_id = author AND i.insight_type = kind AND i.response_text = summary
     ORDER BY i.created_at DESC LIMIT 1;
    RETURN coalesce(known, reporting.record_insight(
      format('What stands out in %s?', metric), summary, dashboard, kind, confidence, context,
      jsonb_build_object('metrics', jsonb_build_array(metric)), conversation, CASE WHEN hidden THEN true END, author));
  END
  $body$;

-- A search is looked up in its index by those whom policies do not bind; matching words is not leakproof, so of everybody
-- else's rows the policy is asked first. Users are given few of those: their own, those of their own dashboards and of those
-- that are shared with them, or those of one dashboard. The plan depends on which.
CREATE FUNCTION reporting.search_insights(
    search text DEFAULT NULL, dashboard text DEFAULT NULL, insight_type text DEFAULT NULL, most int DEFAULT 20,
    before text DEFAULT NULL)
  RETURNS TABLE (insight_id text, created_at timestamptz, dashboard_id text, query_text text, response_text text, headline text,
                 rank real, type text, confidence_score numeric, conversation_id uuid, is_private boolean, mine boolean)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
  AS $body$
  #variable_conflict use_column
  DECLARE
    board uuid := CASE WHEN dashboard IS NOT NULL THEN reporting._dashboard(dashboard) END;
    me uuid := (SELECT auth.uid());
    bound boolean := row_security_active('reporting.ai_insights');
    boards uuid[] := CASE WHEN board IS NOT NULL THEN ARRAY[board]
                          WHEN bound THEN ARRAY(SELECT d.id FROM reporting.dashboards d WHERE d.user_id = me
                                                UNION ALL SELECT reporting.shared_dashboards()) END;
    wanted tsquery;
    last_rank real;
    last_at timestamptz;
    last_id text;
  BEGIN
    IF length(search) > 1000 THEN
      RAISE EXCEPTION 'the search is too long' USING ERRCODE = '22023',
        DETAIL = format('%s characters', length(search)), HINT = 'give at most 1000';
    END IF;
    IF search_insights.insight_type NOT IN ('trend_analysis', 'anomaly_detection', 'optimization') THEN
      RAISE EXCEPTION 'the type of insight is not known' USING ERRCODE = '22023',
        DETAIL = format('insight_type %L', search_insights.insight_type),
        HINT = 'use trend_analysis, anomaly_detection or optimization, or leave it out';
    END IF;
    IF most IS NULL OR most NOT BETWEEN 1 AND 1000 THEN
      RAISE EXCEPTION 'most is out of range' USING ERRCODE = '22023',
        DETAIL = format('most %s', coalesce(most::text, 'NULL')), HINT = 'give 1 to 1000, and page on with before';
    END IF;
    wanted := CASE WHEN btrim(search) <> '' THEN websearch_to_tsquery('english', search) END;
    IF before IS NOT NULL THEN
      SELECT coalesce(ts_rank(i.search, wanted), 0), i.created_at, i.insight_id INTO last_rank, last_at, last_id
        FROM reporting.ai_insights i WHERE i.insight_id = before;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'the insight does not exist' USING ERRCODE = 'P0002', DETAIL = format('before %s', before),
          HINT = 'give the insight_id of the last row of the page before';
      END IF;
    END IF;
    RETURN QUERY
      WITH page AS (
        SELECT i.*, coalesce(ts_rank(i.search, wanted), 0)::real AS rank
          FROM reporting.ai_insights i
         WHERE (wanted IS NULL OR i.search @@ wanted)
           AND (NOT bound OR i.user_id = me OR NOT i.is_private AND i.dashboard_id = ANY (boards))
           AND (board IS NULL OR i.dashboard_id = board)
           AND (search_insights.insight_type IS NULL OR i.insight_type = search_insights.insight_type)
           AND (before IS NULL
                OR (coalesce(ts_rank(i.search, wanted), 0)::real, i.created_at, i.insight_id)
                   < (last_rank, last_at, last_id))
         ORDER BY rank DESC, i.created_at DESC, i.insight_id DESC
         LIMIT most
      )
      SELECT p.insight_id::text, p.created_at, d.dashboard_id::text, p.query_text, p.response_text,
             CASE WHEN wanted IS NOT NULL
                  THEN ts_headline('english', p.query_text || ' ' || p.response_text, wanted,
                                   'StartSel=«, StopSel=», MaxFragments=2, MaxWords=20, MinWords=5') END,
             p.rank, p.insight_type::text, p.confidence_score, p.conversation_id, p.is_private,
             coalesce(p.user_id = me, false)
        FROM page p LEFT JOIN reporting.dashboards d ON d.id = p.dashboard_id
       ORDER BY p.rank DESC, p.created_at DESC, p.insight_id DESC;
  END
  $body$;

-- Whoever knows a conversation's id can write into it. It belongs to whoever began it: what others write counts where it is of
-- a dashboard that this one has written of in it, for whose readers only those write who may change it.
CREATE FUNCTION reporting.conversation(conversation uuid)
  RETURNS TABLE (insight_id text, created_at timestamptz, dashboard_id text, query_text text, response_text text, type text,
                 confidence_score numeric, data_context jsonb, related_metrics jsonb, is_private boolean, mine boolean)
  LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
  AS $body$
  #variable_conflict use_column
  DECLARE
    me uuid := (SELECT auth.uid());
    beginner uuid := (SELECT i.user_id FROM reporting.ai_insights i WHERE i.conversation_id = conversation
                       ORDER BY i.created_at, i.insight_id LIMIT 1);
  BEGIN
    RETURN QUERY
      SELECT i.insight_id::text, i.created_at, d.dashboard_id::text, i.query_text, i.response_text, i.insight_type::text,
             i.confidence_score, i.data_context, i.related_metrics, i.is_private, coalesce(i.user_id = me, false)
        FROM reporting.ai_insights i LEFT JOIN reporting.dashboards d ON d.id = i.dashboard_id
       WHERE i.conversation_id = conversation
         AND (i.user_id IN (me, beginner)
              OR i.dashboard_id IN (SELECT b.dashboard_id FROM reporting.ai_insights b
                                     WHERE b.conversation_id = conversation AND b.user_id = beginner))
       ORDER BY i.created_at, i.insight_id;
  END
  $body$;
