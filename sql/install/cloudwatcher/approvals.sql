-- Who approves an order: asked one after the other, from its department upwards. All of this runs with the
-- extension's rights and asks first who calls; order_rules.sql looks once more at every row.

-- Whoever is asked next about an order: the nearest manager above its department whose roles approve, otherwise one
-- who may approve anything, whoever is asked for least. `taken` are those who cannot be: authors, and those who were
-- asked already; of managers, only those above this height count (0 is the department's own). Somebody who stands in
-- for him is asked in his place, unless taken. NULLs: there is nobody.
CREATE FUNCTION cloudwatcher._next_approver(department uuid, taken uuid[], beyond int, OUT principal uuid, OUT approver uuid)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    WITH RECURSIVE above AS (
      SELECT d.id, d.parent_id, d.manager_id, 0 AS height FROM cloudwatcher.departments d WHERE d.id = $1
      UNION ALL
      SELECT d.id, d.parent_id, d.manager_id, a.height + 1
        FROM above a JOIN cloudwatcher.departments d ON d.id = a.parent_id WHERE a.height < 1000)
    SELECT a.manager_id INTO principal FROM above a
     WHERE a.height > beyond AND a.manager_id <> ALL (taken) AND cloudwatcher._is_approver(a.manager_id)
       AND cloudwatcher._can_approve(a.manager_id)
     ORDER BY a.height LIMIT 1;
    IF principal IS NULL THEN
      SELECT c.user_id INTO principal
        FROM (SELECT DISTINCT h.user_id FROM cloudwatcher.role_permissions p JOIN cloudwatcher.user_roles h ON h.role_id = p.role_id
               WHERE p.permission = 'orders.approve_any') AS c
       WHERE c.user_id <> ALL (taken) AND cloudwatcher._can_approve(c.user_id)
       ORDER BY (SELECT count(*) FROM cloudwatcher.order_approvals a
                  WHERE a.approver_id = c.user_id AND a.status IN ('waiting', 'pending')), c.user_id
       LIMIT 1;
    END IF;
    approver := principal;
    SELECT d.delegate_id INTO approver FROM cloudwatcher.approval_delegations d
     WHERE d.approver_id = principal AND d.starts_at <= clock_timestamp() AND d.ends_at > clock_timestamp()
       AND d.delegate_id <> ALL (taken) AND cloudwatcher._can_approve(d.delegate_id)
     ORDER BY d.created_at DESC, d.id LIMIT 1;
    approver := coalesce(approver, principal);
  END
  $body$;

-- How high up from an order's department those are who were asked for an approval or one before it: it goes on
-- above them, never down again. -1: none of them manages anything there (any more); 1000: the one who is asked may
-- approve anything, and is above all managers.
CREATE FUNCTION cloudwatcher._height_asked(approval uuid, department uuid) RETURNS int
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    WITH RECURSIVE this AS (
      SELECT a.order_id, a.approval_level, coalesce(a.in_place_of, a.approver_id) AS principal
        FROM cloudwatcher.order_approvals a WHERE a.id = $1),
    above AS (
      SELECT d.id, d.parent_id, d.manager_id, 0 AS height FROM cloudwatcher.departments d WHERE d.id = $2
      UNION ALL
      SELECT d.id, d.parent_id, d.manager_id, a.height + 1
        FROM above a JOIN cloudwatcher.departments d ON d.id = a.parent_id WHERE a.height < 1000)
    SELECT coalesce(
      (SELECT max(u.height) FROM this t
         JOIN cloudwatcher.order_approvals a ON a.order_id = t.order_id AND a.approval_level <= t.approval_level
         JOIN above u ON u.manager_id = coalesce(a.in_place_of, a.approver_id)),
      (SELECT 1000 FROM this t
        WHERE EXISTS (SELECT FROM cloudwatcher.user_roles h JOIN cloudwatcher.role_permissions p ON p.role_id = h.role_id
                       WHERE h.user_id = t.principal AND p.permission = 'orders.approve_any')),
      -1)
  $body$;

-- Those who cannot be asked about an order (any more), nor be approved for.
CREATE FUNCTION cloudwatcher._taken(which uuid) RETURNS uuid[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT cloudwatcher._authors($1)
        || ARRAY(SELECT a.approver_id FROM cloudwatcher.order_approvals a WHERE a.order_id = $1
                 UNION SELECT a.in_place_of FROM cloudwatcher.order_approvals a WHERE a.order_id = $1 AND a.in_place_of IS NOT NULL
                 UNION SELECT a.decided_by FROM cloudwatcher.order_approvals a WHERE a.order_id = $1 AND a.decided_by IS NOT NULL)
  $body$;

CREATE FUNCTION cloudwatcher.submit_order(order_id uuid, expected_total numeric DEFAULT NULL)
  RETURNS TABLE (status text, approver uuid, levels int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    o record;
    needed int;
    taken uuid[];
    chosen record;
  BEGIN
    PERFORM cloudwatcher._hold_order($1, 'orders.create');
    SELECT t.status, t.dept_id, t.order_type, t.location_id, t.source_location_id, t.total_amount INTO o
      FROM cloudwatcher.orders t WHERE t.id = $1;
    IF o.status = 'draft' THEN
      PERFORM cloudwatcher._require_complete($1, o.order_type, o.location_id, o.source_location_id);
      IF $2 <> o.total_amount THEN
        RAISE EXCEPTION 'the total is another one' USING ERRCODE = '55000',
          DETAIL = format('order %s: %s, expected %s', $1, o.total_amount, $2), HINT = 'look at its items once more';
      END IF;
      needed := cloudwatcher._levels_needed($1);
      UPDATE cloudwatcher.orders t SET status = CASE WHEN needed = 0 THEN 'approved' ELSE 'pending-approval' END WHERE t.id = $1;
      taken := cloudwatcher._taken($1);
      FOR level IN 1 .. needed LOOP
        SELECT n.* INTO chosen FROM cloudwatcher._next_approver(o.dept_id, taken, -1) AS n;
        IF chosen.approver IS NULL THEN
          RAISE EXCEPTION 'nobody can approve this order' USING ERRCODE = '55000',
            DETAIL = format('order %s needs %s approvals; %s can be asked', $1, needed, level - 1),
            HINT = 'give departments managers whose roles approve, or somebody the permission orders.approve_any';
        END IF;
        taken := taken || ARRAY[chosen.principal, chosen.approver];
        INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, in_place_of, approval_level, status)
        VALUES ($1, chosen.approver, nullif(chosen.principal, chosen.approver), level,
                CASE WHEN level = 1 THEN 'pending' ELSE 'waiting' END);
      END LOOP;
    ELSIF o.status IN ('cancelled', 'rejected') THEN
      PERFORM cloudwatcher._require_draft($1);
    END IF;
    RETURN QUERY SELECT t.status::text, a.approver_id, t.approval_levels
      FROM cloudwatcher.orders t LEFT JOIN cloudwatcher.order_approvals a ON a.order_id = t.id AND a.status = 'pending' WHERE t.id = $1;
  END
  $body$;

-- The approval that somebody is waited for, which there has to be.
CREATE FUNCTION cloudwatcher._pending_approval(which uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    pending uuid := (SELECT a.id FROM cloudwatcher.order_approvals a WHERE a.order_id = $1 AND a.status = 'pending');
  BEGIN
    IF pending IS NULL THEN
      RAISE EXCEPTION 'nobody is asked to approve this order' USING ERRCODE = '55000',
        DETAIL = format('order %s is %s', $1, (SELECT o.status FROM cloudwatcher.orders o WHERE o.id = $1)),
        HINT = 'what was submitted can be approved, until it is decided';
    END IF;
    RETURN pending;
  END
  $body$;

CREATE FUNCTION cloudwatcher.decide_approval(order_id uuid, decision text, notes text DEFAULT NULL)
  RETURNS TABLE (status text, next_approver uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._hold_order($1, NULL);
    earlier text;
    approval uuid;
    level int;
  BEGIN
    IF $2 IS NULL OR $2 NOT IN ('approved', 'rejected') THEN
      RAISE EXCEPTION 'there is no such decision' USING ERRCODE = '22023', DETAIL = format('decision %s', coalesce($2, 'NULL')),
        HINT = 'use approved or rejected';
    END IF;
    SELECT a.status INTO earlier FROM cloudwatcher.order_approvals a WHERE a.order_id = $1 AND a.decided_by = who;
    IF FOUND AND earlier <> $2 THEN
      RAISE EXCEPTION 'you have decided already' USING ERRCODE = '55000', DETAIL = format('order %s: %s', $1, earlier),
        HINT = 'an approved order can be cancelled until something of it is received';
    END IF;
    IF earlier IS NULL THEN
      approval := cloudwatcher._pending_approval($1);
      UPDATE cloudwatcher.order_approvals a SET status = $2, decided_by = who, notes = coalesce(nullif(btrim($3), ''), a.notes)
       WHERE a.id = approval RETURNING a.approval_level INTO level;
      PERFORM cloudwatcher._note_event($1, 'level-' || $2, nullif(btrim($3), ''), jsonb_build_object('level', level));
      IF $2 = 'rejected' THEN
        UPDATE cloudwatcher.orders o SET status = 'rejected', reason = nullif(btrim($3), '') WHERE o.id = $1;
      ELSE
        UPDATE cloudwatcher.order_approvals a SET status = 'pending'
         WHERE a.order_id = $1 AND a.approval_level = level + 1 AND a.status = 'waiting';
        IF NOT FOUND THEN
          UPDATE cloudwatcher.orders o SET status = 'approved', approved_by = who WHERE o.id = $1;
        END IF;
      END IF;
    END IF;
    RETURN QUERY SELECT o.status::text, a.approver_id
      FROM cloudwatcher.orders o LEFT JOIN cloudwatcher.order_approvals a ON a.order_id = o.id AND a.status = 'pending' WHERE o.id = $1;
  END
  $body$;

-- Others in one's place -----------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._require_approver(delegate uuid) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $1 IS NULL OR NOT cloudwatcher._can_approve($1) THEN
      RAISE EXCEPTION 'this is nobody who can approve' USING ERRCODE = CASE WHEN $1 IS NULL THEN '22004' ELSE 'P0002' END,
        DETAIL = format('user %s', coalesce($1::text, 'NULL')), HINT = 'name an active user whose roles permit orders.approve';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher.delegate_approval(order_id uuid, to_user uuid, notes text DEFAULT NULL) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._hold_order($1, NULL);
    approval uuid := cloudwatcher._pending_approval($1);
    a record;
  BEGIN
    SELECT t.approver_id, t.in_place_of, t.approval_level, t.pending_since INTO a FROM cloudwatcher.order_approvals t WHERE t.id = approval;
    IF EXISTS (SELECT FROM cloudwatcher.order_approvals t
                WHERE t.order_id = $1 AND t.approver_id = who AND t.approval_level = a.approval_level AND t.status = 'delegated')
       AND a.approver_id = $2 THEN
      RETURN $2;
    END IF;
    IF a.approver_id IS DISTINCT FROM who OR NOT cloudwatcher._can_approve(who) THEN
      RAISE EXCEPTION 'somebody else was asked to approve this order' USING ERRCODE = '42501',
        DETAIL = format('order %s, approver %s, user %s', $1, a.approver_id, coalesce(who::text, 'nobody')),
        HINT = 'only whoever was asked hands it on';
    END IF;
    PERFORM cloudwatcher._require_approver($2);
    IF $2 = ANY (cloudwatcher._taken($1)) THEN
      RAISE EXCEPTION 'this one cannot approve the order' USING ERRCODE = '42501', DETAIL = format('order %s, user %s', $1, $2),
        HINT = 'name somebody who neither created, changed nor submitted it, and was not asked about it yet';
    END IF;
    UPDATE cloudwatcher.order_approvals t SET status = 'delegated', notes = coalesce(nullif(btrim($3), ''), t.notes) WHERE t.id = approval;
    INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, in_place_of, approval_level, status, pending_since)
    VALUES ($1, $2, coalesce(a.in_place_of, who), a.approval_level, 'pending', a.pending_since);
    PERFORM cloudwatcher._note_event($1, 'delegated', nullif(btrim($3), ''), jsonb_build_object('level', a.approval_level, 'from', who, 'to', $2));
    RETURN $2;
  END
  $body$;

-- One at a time: what was said before about the same days holds no longer; of another one's time, what is before
-- and after stays his. (The same one's ends when it is said to end now.)
CREATE FUNCTION cloudwatcher.set_delegate(delegate uuid, until timestamptz, starts timestamptz DEFAULT pg_catalog.now()) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
    since timestamptz := coalesce($3, now());
    made uuid;
  BEGIN
    IF who IS NULL OR NOT cloudwatcher._can_approve(who) THEN
      RAISE EXCEPTION 'permission is missing' USING ERRCODE = '42501', DETAIL = format('orders.approve, user %s', coalesce(who::text, 'nobody')),
        HINT = 'whoever approves orders names somebody for the time of an absence';
    END IF;
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.approval_delegations'), cloudwatcher._require_approver($1);
    IF $1 = who THEN
      RAISE EXCEPTION 'nobody stands in for himself' USING ERRCODE = '22023', DETAIL = format('user %s', who), HINT = 'name somebody else';
    END IF;
    IF $2 IS NULL OR NOT isfinite($2) OR NOT isfinite(since) OR $2 <= since OR since < now() - interval '1 minute' OR $2 <= clock_timestamp() THEN
      RAISE EXCEPTION 'this is no time to come' USING ERRCODE = CASE WHEN $2 IS NULL THEN '22004' ELSE '22023' END,
        DETAIL = format('from %s until %s', since, coalesce($2::text, 'NULL')), HINT = 'it begins now or later, and ends after that';
    END IF;
    -- One person's take turns.
    PERFORM FROM cloudwatcher.users u WHERE u.id = who FOR NO KEY UPDATE;
    SELECT d.id INTO made FROM cloudwatcher.approval_delegations d
     WHERE d.approver_id = who AND d.delegate_id = $1 AND d.ends_at = $2 AND (d.starts_at = since OR $3 <= now() AND d.starts_at <= now());
    IF FOUND THEN
      RETURN made;
    END IF;
    INSERT INTO cloudwatcher.approval_delegations (approver_id, delegate_id, starts_at, ends_at)
    SELECT who, d.delegate_id, $2, d.ends_at FROM cloudwatcher.approval_delegations d
     WHERE d.approver_id = who AND d.delegate_id <> $1 AND d.starts_at < $2 AND d.ends_at > $2;
    DELETE FROM cloudwatcher.approval_delegations d WHERE d.approver_id = who AND d.starts_at >= since AND d.starts_at < $2;
    UPDATE cloudwatcher.approval_delegations d SET ends_at = since
     WHERE d.approver_id = who AND d.starts_at < since AND d.ends_at > since;
    INSERT INTO cloudwatcher.approval_delegations (approver_id, delegate_id, starts_at, ends_at) VALUES (who, $1, since, $2)
    RETURNING approval_delegations.id INTO made;
    RETURN made;
  END
  $body$;

CREATE FUNCTION cloudwatcher.end_delegation() RETURNS int
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
    planned int;
    standing int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.approval_delegations');
    DELETE FROM cloudwatcher.approval_delegations d WHERE d.approver_id = who AND d.starts_at >= now();
    GET DIAGNOSTICS planned = ROW_COUNT;
    UPDATE cloudwatcher.approval_delegations d SET ends_at = now() WHERE d.approver_id = who AND d.starts_at < now() AND d.ends_at > now();
    GET DIAGNOSTICS standing = ROW_COUNT;
    RETURN planned + standing;
  END
  $body$;

-- Time ----------------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher.escalate_approvals() RETURNS TABLE (order_id uuid, action text, level int, approver uuid)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    due record;
    a record;
    s record;
    chosen record;
  BEGIN
    PERFORM cloudwatcher._require_service(), cloudwatcher._refuse_foreign_orders();
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('approvals cannot be escalated');
    END IF;
    SELECT t.escalate_after, t.approvals_expire_after INTO STRICT s FROM cloudwatcher.settings t;
    FOR due IN
      -- Each approver is asked for once, however many orders wait for him.
      WITH asked AS MATERIALIZED (
        SELECT DISTINCT t.approver_id AS id FROM cloudwatcher.order_approvals t WHERE t.status = 'pending'),
      gone AS MATERIALIZED (SELECT asked.id FROM asked WHERE NOT cloudwatcher._can_approve(asked.id))
      -- (Nobody is asked before the level is: the index on pending_since finds them.)
      SELECT t.order_id AS id FROM cloudwatcher.order_approvals t
       WHERE t.status = 'pending' AND t.pending_since <= now() - s.escalate_after
         AND (t.asked_at <= now() - s.escalate_after OR t.pending_since <= now() - s.approvals_expire_after)
      UNION
      SELECT t.order_id FROM gone JOIN cloudwatcher.order_approvals t ON t.approver_id = gone.id AND t.status = 'pending'
       ORDER BY id
    LOOP
      -- Somebody is at it: at the next run, if it is still due then.
      PERFORM FROM cloudwatcher.orders o WHERE o.id = due.id FOR NO KEY UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;
      SELECT t.id, t.approver_id, t.approval_level, t.pending_since, o.dept_id,
             t.pending_since <= now() - s.approvals_expire_after AS expired,
             t.asked_at <= now() - s.escalate_after OR NOT cloudwatcher._can_approve(t.approver_id) AS late
        INTO a FROM cloudwatcher.order_approvals t JOIN cloudwatcher.orders o ON o.id = t.order_id
       WHERE t.order_id = due.id AND t.status = 'pending';
      IF a.expired THEN
        UPDATE cloudwatcher.order_approvals t SET status = 'timed-out' WHERE t.id = a.id;
        PERFORM cloudwatcher._note_event(due.id, 'timed-out', NULL, jsonb_build_object('level', a.approval_level, 'approver', a.approver_id));
        UPDATE cloudwatcher.orders o SET status = 'rejected', reason = 'nobody decided in time' WHERE o.id = due.id;
        RETURN QUERY SELECT due.id, 'timed-out', a.approval_level, NULL::uuid;
      ELSIF a.late THEN
        SELECT n.* INTO chosen
          FROM cloudwatcher._next_approver(a.dept_id, cloudwatcher._taken(due.id), cloudwatcher._height_asked(a.id, a.dept_id)) AS n;
        -- It stays where it is where there is nobody else.
        CONTINUE WHEN chosen.approver IS NULL;
        UPDATE cloudwatcher.order_approvals t SET status = 'escalated' WHERE t.id = a.id;
        INSERT INTO cloudwatcher.order_approvals (order_id, approver_id, in_place_of, approval_level, status, pending_since)
        VALUES (due.id, chosen.approver, nullif(chosen.principal, chosen.approver), a.approval_level, 'pending', a.pending_since);
        PERFORM cloudwatcher._note_event(due.id, 'escalated', NULL,
          jsonb_build_object('level', a.approval_level, 'from', a.approver_id, 'to', chosen.approver));
        RETURN QUERY SELECT due.id, 'escalated', a.approval_level, chosen.approver;
      END IF;
    END LOOP;
  END
  $body$;

-- Reading ---------------------------------------------------------------------------------------------

-- What is pending of the caller, and of those in whose place he is: few rows, found before anybody asks which orders
-- he sees.
CREATE FUNCTION cloudwatcher._my_pending()
  RETURNS TABLE (order_id uuid, level int, asked_at timestamptz, escalates_at timestamptz, expires_at timestamptz, in_place_of uuid, notes text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
  BEGIN
    IF who IS NOT NULL AND cloudwatcher._allows(who, 'orders.read') THEN
      RETURN QUERY
        SELECT a.order_id, a.approval_level, a.asked_at, a.asked_at + s.escalate_after, a.pending_since + s.approvals_expire_after,
               CASE WHEN a.approver_id <> who THEN a.approver_id ELSE a.in_place_of END, a.notes
          FROM cloudwatcher.settings s
          JOIN cloudwatcher.order_approvals a
            ON a.status = 'pending'
           AND a.approver_id = ANY (ARRAY(SELECT d.approver_id FROM cloudwatcher.approval_delegations d
                                           WHERE d.delegate_id = who AND d.starts_at <= now() AND d.ends_at > now()) || who);
    END IF;
  END
  $body$;

-- With the caller's rights.
CREATE FUNCTION cloudwatcher.my_approvals()
  RETURNS TABLE (order_id uuid, level int, levels int, order_type text, total_amount numeric, department uuid, created_by uuid,
                 asked_at timestamptz, escalates_at timestamptz, expires_at timestamptz, in_place_of uuid, notes text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT o.id, a.level, o.approval_levels, o.order_type::text, o.total_amount, o.dept_id, o.created_by, a.asked_at,
           a.escalates_at, a.expires_at, a.in_place_of, a.notes
      FROM cloudwatcher._my_pending() AS a
      -- (OFFSET keeps this one order at a time: the policy is asked about no other.)
     CROSS JOIN LATERAL (SELECT t.* FROM cloudwatcher.orders t WHERE t.id = a.order_id OFFSET 0) AS o
     ORDER BY a.asked_at, o.id
  $body$;
