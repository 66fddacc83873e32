-- Who may do what, and where. Policies ask the first four for each row: plain C functions, which look the answers
-- up once a query.

CREATE FUNCTION cloudwatcher.sees_department(department uuid) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_sees_department';
CREATE FUNCTION cloudwatcher.sees_location(location uuid) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_sees_location';
CREATE FUNCTION cloudwatcher.sees_user(who uuid) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_sees_user';
CREATE FUNCTION cloudwatcher.is_asked(order_id uuid) RETURNS boolean
  LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'gemba_is_asked';

CREATE FUNCTION cloudwatcher.department_subtree(department uuid) RETURNS TABLE (id uuid, name text, parent_id uuid, depth int)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RETURN QUERY
      WITH RECURSIVE below AS (
        SELECT d.id, d.name::text, d.parent_id, 0 AS depth FROM cloudwatcher.departments d WHERE d.id = department
        UNION ALL
        SELECT d.id, d.name::text, d.parent_id, b.depth + 1
          FROM below b JOIN cloudwatcher.departments d ON d.parent_id = b.id)
      SELECT * FROM below b ORDER BY b.depth, b.name, b.id;
  END
  $body$;

-- Guards ------------------------------------------------------------------------------------------
-- For functions that run with the extension's rights. Servers of the application (whoever has service_role's
-- rights) may do everything; everybody else what the roles of the logged-in user allow.

CREATE FUNCTION cloudwatcher._is_service() RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT pg_has_role(gemba._caller()::name, 'service_role', 'USAGE') $body$;

-- Returns who is logged in, NULL for a server that acts for nobody.
CREATE FUNCTION cloudwatcher._require(permission text, department uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
  BEGIN
    IF cloudwatcher._is_service() OR cloudwatcher._allows(who, permission, department) THEN
      RETURN who;
    END IF;
    RAISE EXCEPTION 'permission is missing' USING ERRCODE = '42501',
      DETAIL = format('%s, user %s', permission, coalesce(who::text, 'nobody')),
      HINT = 'ask for a role that has the permission in this department';
  END
  $body$;

-- The same anywhere: for what belongs to no department.
CREATE FUNCTION cloudwatcher._require(permission text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
  BEGIN
    IF cloudwatcher._is_service() OR cloudwatcher._allows(who, permission) THEN
      RETURN who;
    END IF;
    RAISE EXCEPTION 'permission is missing' USING ERRCODE = '42501',
      DETAIL = format('%s, user %s', permission, coalesce(who::text, 'nobody')),
      HINT = 'ask for a role that has the permission';
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_service() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF NOT cloudwatcher._is_service() THEN
      RAISE EXCEPTION 'only the application''s servers may do this' USING ERRCODE = '42501',
        DETAIL = format('role %s', gemba._caller()), HINT = 'call it as service_role';
    END IF;
  END
  $body$;

-- Triggers ----------------------------------------------------------------------------------------

-- Two moves at once could close a circle that neither of them sees: they take turns.
CREATE FUNCTION cloudwatcher._refuse_cycle() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF TG_OP = 'UPDATE' AND NEW.parent_id IS NOT DISTINCT FROM OLD.parent_id THEN
      RETURN NEW;
    END IF;
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.departments');
    PERFORM gemba._require_current_snapshots('departments cannot be moved');
    PERFORM FROM cloudwatcher.settings FOR NO KEY UPDATE;
    IF EXISTS (
      WITH RECURSIVE above AS (
        SELECT d.id, d.parent_id FROM cloudwatcher.departments d WHERE d.id = NEW.parent_id
        UNION
        SELECT d.id, d.parent_id FROM above a JOIN cloudwatcher.departments d ON d.id = a.parent_id)
      SELECT FROM above a WHERE a.id = NEW.id)
    THEN
      RAISE EXCEPTION 'a department cannot be below itself' USING ERRCODE = '23514',
        DETAIL = format('department %s (%s) under %s', NEW.id, NEW.name, NEW.parent_id),
        HINT = 'choose a parent that is not in its subtree', SCHEMA = 'cloudwatcher', TABLE = 'departments', COLUMN = 'parent_id';
    END IF;
    RETURN NEW;
  END
  $body$;

-- Nobody gives away more than he has himself.
CREATE FUNCTION cloudwatcher._refuse_more_than_own() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
    missing text;
    given record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner(TG_RELID::regclass);
    IF TG_TABLE_NAME = 'user_roles' THEN
      -- Servers may say who gave it; everybody else did so himself.
      IF NEW.assigned_by IS NULL OR NOT cloudwatcher._is_service() THEN
        NEW.assigned_by := (SELECT u.id FROM cloudwatcher.users u WHERE u.id = who);
      END IF;
    END IF;
    IF cloudwatcher._is_service() THEN
      RETURN NEW;
    END IF;
    IF TG_TABLE_NAME = 'user_roles' THEN
      SELECT min(p.permission) INTO missing FROM cloudwatcher.role_permissions p
       WHERE p.role_id = NEW.role_id AND NOT cloudwatcher._allows(who, p.permission);
      SELECT r.name, cloudwatcher._limit_of(r.approval_threshold_amount, r.requires_approval) AS amount,
             r.can_approve_subordinate_requests AS approves
        INTO given FROM cloudwatcher.roles r WHERE r.id = NEW.role_id;
      IF missing IS NULL AND given.amount > coalesce(cloudwatcher._own_limit(who), -1) THEN
        PERFORM cloudwatcher._refuse_power(format('role %s, limit %s, user %s', given.name, given.amount, who));
      ELSIF missing IS NULL AND given.approves AND NOT cloudwatcher._is_approver(who) THEN
        PERFORM cloudwatcher._refuse_power(format('role %s approves, user %s', given.name, who));
      END IF;
    ELSIF NOT cloudwatcher._allows(who, NEW.permission) THEN
      missing := NEW.permission;
    END IF;
    IF missing IS NOT NULL THEN
      RAISE EXCEPTION 'nobody can give away a permission that he does not have' USING ERRCODE = '42501',
        DETAIL = format('permission %s, user %s', missing, coalesce(who::text, 'nobody')),
        HINT = 'let somebody do it who has the permission';
    END IF;
    RETURN NEW;
  END
  $body$;

-- The limits of orders ------------------------------------------------------------------------------

-- Up to which amount a role orders without asking. NULL: it asks in any case.
CREATE FUNCTION cloudwatcher._limit_of(threshold numeric, requires_approval boolean) RETURNS numeric
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT coalesce($1, s.approval_thresholds[1]) FROM cloudwatcher.settings s WHERE NOT $2 $body$;

-- Does one of somebody's roles approve?
CREATE FUNCTION cloudwatcher._is_approver(who uuid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT EXISTS (SELECT FROM cloudwatcher.user_roles h JOIN cloudwatcher.roles r ON r.id = h.role_id
                    WHERE h.user_id = $1 AND r.can_approve_subordinate_requests)
  $body$;

CREATE FUNCTION cloudwatcher._refuse_power(what text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'nobody can allow more than he is allowed himself' USING ERRCODE = '42501', DETAIL = $1,
      HINT = 'let the application''s servers do it, or somebody with a higher limit';
  END
  $body$;

-- What a role may order and approve is changed by nobody who holds it, and to no more than one has oneself.
CREATE FUNCTION cloudwatcher._refuse_higher_limit() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
    own numeric;
    amount numeric;
    before numeric;
  BEGIN
    PERFORM gemba._refuse_foreign_owner(TG_RELID::regclass);
    IF cloudwatcher._is_service() THEN
      RETURN NEW;
    END IF;
    own := coalesce(cloudwatcher._own_limit(who), -1);
    amount := coalesce(NEW.approval_threshold_amount, cloudwatcher._limit_of(NULL, NEW.requires_approval));
    IF TG_OP = 'INSERT' THEN
      IF amount > own OR NEW.can_approve_subordinate_requests AND NOT cloudwatcher._is_approver(who) THEN
        PERFORM cloudwatcher._refuse_power(format('role %s, limit %s, user %s', NEW.name, amount, who));
      END IF;
      RETURN NEW;
    END IF;
    IF (OLD.approval_threshold_amount, OLD.requires_approval, OLD.can_approve_subordinate_requests)
       IS NOT DISTINCT FROM (NEW.approval_threshold_amount, NEW.requires_approval, NEW.can_approve_subordinate_requests) THEN
      RETURN NEW;
    END IF;
    IF EXISTS (SELECT FROM cloudwatcher.user_roles h WHERE h.user_id = who AND h.role_id = OLD.id) THEN
      RAISE EXCEPTION 'nobody changes what his own role may order and approve' USING ERRCODE = '42501',
        DETAIL = format('role %s, user %s', OLD.name, who), HINT = 'let somebody do it who does not hold the role',
        SCHEMA = 'cloudwatcher', TABLE = 'roles';
    END IF;
    before := coalesce(OLD.approval_threshold_amount, cloudwatcher._limit_of(NULL, OLD.requires_approval), -1);
    IF OLD.requires_approval AND NOT NEW.requires_approval
       OR NEW.can_approve_subordinate_requests AND NOT OLD.can_approve_subordinate_requests AND NOT cloudwatcher._is_approver(who)
       OR amount > greatest(own, before) THEN
      PERFORM cloudwatcher._refuse_power(format('role %s, limit %s, user %s', NEW.name, amount, who));
    END IF;
    RETURN NEW;
  END
  $body$;

-- Nor does anybody get further by what is true where a role says nothing: an amount that is raised (or left out,
-- which is without end) stays within one's own.
CREATE FUNCTION cloudwatcher._refuse_higher_amounts() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := gemba._user();
    own numeric;
  BEGIN
    IF cloudwatcher._is_service() OR OLD.approval_thresholds = NEW.approval_thresholds THEN
      RETURN NEW;
    END IF;
    own := coalesce(cloudwatcher._own_limit(who), -1);
    FOR n IN 1 .. 3 LOOP
      IF coalesce(NEW.approval_thresholds[n], 'infinity') > greatest(own, coalesce(OLD.approval_thresholds[n], 'infinity')) THEN
        PERFORM cloudwatcher._refuse_power(format('amounts %s, limit %s, user %s', NEW.approval_thresholds, own, who));
      END IF;
    END LOOP;
    RETURN NEW;
  END
  $body$;
