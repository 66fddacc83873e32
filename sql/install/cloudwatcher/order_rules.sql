-- What is true of orders whoever writes them: their states, what does not change any more, who may approve, and
-- that all of it is written down. Triggers, with the extension's rights; functions are in orders.sql and
-- approvals.sql.
--
-- Locks are taken in this order, and so nobody waits in a circle: the order, its items or approvals, stock.

-- Who and what ------------------------------------------------------------------------------------

-- Whoever is logged in, if it is one of the people here.
CREATE FUNCTION cloudwatcher._actor() RETURNS uuid
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT u.id FROM cloudwatcher.users u WHERE u.id = gemba._user() $body$;

-- Functions that run with the extension's rights write no tables that were given to somebody else.
CREATE FUNCTION cloudwatcher._refuse_foreign_orders() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.orders'), gemba._refuse_foreign_owner('cloudwatcher.order_items'),
            gemba._refuse_foreign_owner('cloudwatcher.order_approvals'), gemba._refuse_foreign_owner('cloudwatcher.order_history');
  END
  $body$;

CREATE FUNCTION cloudwatcher._note_event(which uuid, event text, description text, metadata jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._actor();
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.order_history');
    INSERT INTO cloudwatcher.order_history (order_id, event_type, event_description, user_id, metadata)
    VALUES ($1, $2, $3, who, CASE WHEN who IS NULL THEN $4 || jsonb_build_object('role', gemba._caller()) ELSE $4 END);
  END
  $body$;

-- Whoever had a hand in an order before it was submitted, besides its creator: none of them approves it.
CREATE FUNCTION cloudwatcher._authors(which uuid) RETURNS uuid[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT array_agg(a.id) FROM (
      SELECT o.created_by AS id FROM cloudwatcher.orders o WHERE o.id = $1
      UNION
      SELECT h.user_id FROM cloudwatcher.order_history h
       WHERE h.order_id = $1 AND h.user_id IS NOT NULL
         AND h.event_type IN ('created', 'location-changed', 'item-added', 'item-changed', 'item-removed', 'submitted')) AS a
  $body$;

-- The greatest amount that somebody may order without asking: roles add up, and a role that asks in any case
-- allows nothing. NULL: nothing at all.
CREATE FUNCTION cloudwatcher._own_limit(who uuid) RETURNS numeric
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT max(coalesce(r.approval_threshold_amount, s.approval_thresholds[1]))
      FROM cloudwatcher.settings s
     CROSS JOIN cloudwatcher.users u
      JOIN cloudwatcher.user_roles h ON h.user_id = u.id
      JOIN cloudwatcher.roles r ON r.id = h.role_id
     WHERE u.id = $1 AND u.is_active AND NOT r.requires_approval
  $body$;

-- What a supplier takes for a part, or else others do. Where no variant is named it may be any of them, so the
-- dearest counts. NULL: nobody says.
CREATE FUNCTION cloudwatcher._known_price(part uuid, variant uuid, supplier uuid) RETURNS numeric
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT s.supplier_cost FROM cloudwatcher.part_suppliers s
     WHERE s.part_id = $1 AND ($2 IS NULL OR s.variant_id = $2 OR s.variant_id IS NULL) AND s.supplier_cost IS NOT NULL
     ORDER BY s.supplier_id <> $3, CASE WHEN $2 IS NULL THEN -s.supplier_cost END, s.variant_id, s.supplier_cost LIMIT 1
  $body$;

-- What an order is worth to those who approve: nobody gets below a limit by naming a price below the supplier's, or
-- a supplier who has none. (Transfers cost what they are said to.)
CREATE FUNCTION cloudwatcher._worth(which uuid) RETURNS numeric
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT coalesce(sum(i.quantity_ordered * greatest(i.unit_price,
             CASE WHEN o.order_type <> 'internal_transfer' THEN
               cloudwatcher._known_price(i.part_id, i.variant_id, i.supplier_id) END)), 0)
      FROM cloudwatcher.orders o JOIN cloudwatcher.order_items i ON i.order_id = o.id
     WHERE o.id = $1
  $body$;

-- How many approvals an order needs if it is submitted by whoever is logged in: none up to the limit of its creator
-- and of whoever submits it, otherwise one for each of the settings' amounts that it exceeds, and one at least. One
-- at least, too, where nobody but who orders says what something costs.
CREATE FUNCTION cloudwatcher._levels_needed(which uuid) RETURNS int
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    worth numeric := cloudwatcher._worth($1);
    creator uuid := (SELECT o.created_by FROM cloudwatcher.orders o WHERE o.id = $1);
  BEGIN
    IF NOT EXISTS (SELECT FROM cloudwatcher.orders o JOIN cloudwatcher.order_items i ON i.order_id = o.id
                    WHERE o.id = $1 AND o.order_type <> 'internal_transfer'
                      AND cloudwatcher._known_price(i.part_id, i.variant_id, i.supplier_id) IS NULL)
       AND worth <= cloudwatcher._own_limit(creator)
       AND worth <= cloudwatcher._own_limit(coalesce(cloudwatcher._actor(), creator)) THEN
      RETURN 0;
    END IF;
    RETURN (SELECT greatest(1, count(*)) FROM cloudwatcher.settings s, unnest(s.approval_thresholds) AS t(amount) WHERE worth > t.amount);
  END
  $body$;

-- Orders ------------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._check_order() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    needed int;
  BEGIN
    IF TG_OP = 'DELETE' THEN
      IF OLD.status <> 'draft' THEN
        RAISE EXCEPTION 'only drafts can be deleted' USING ERRCODE = '55000', DETAIL = format('order %s is %s', OLD.id, OLD.status),
          HINT = 'cloudwatcher.cancel_order() ends an order', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      RETURN OLD;
    END IF;
    IF TG_OP = 'INSERT' THEN
      IF NEW.status <> 'draft' OR NEW.total_amount <> 0 OR num_nonnulls(NEW.approval_levels, NEW.approved_by, NEW.submitted_at,
           NEW.approved_at, NEW.ordered_at, NEW.closed_at, NEW.reason) > 0 THEN
        RAISE EXCEPTION 'an order begins as an empty draft' USING ERRCODE = '55000',
          DETAIL = format('status %s, total %s', NEW.status, NEW.total_amount),
          HINT = 'cloudwatcher.create_order() begins one', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
    ELSE
      IF (OLD.id, OLD.request_id, OLD.order_type, OLD.created_by, OLD.created_at)
         IS DISTINCT FROM (NEW.id, NEW.request_id, NEW.order_type, NEW.created_by, NEW.created_at)
         OR OLD.status <> 'draft' AND (OLD.dept_id, OLD.location_id, OLD.source_location_id, OLD.total_amount)
            IS DISTINCT FROM (NEW.dept_id, NEW.location_id, NEW.source_location_id, NEW.total_amount) THEN
        RAISE EXCEPTION 'this of an order does not change any more' USING ERRCODE = '55000',
          DETAIL = format('order %s is %s', OLD.id, OLD.status),
          HINT = 'cancel it and create another one', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      -- These follow from what happens to it.
      NEW.approval_levels := OLD.approval_levels;
      NEW.submitted_at := OLD.submitted_at;
      NEW.approved_at := OLD.approved_at;
      NEW.ordered_at := OLD.ordered_at;
      NEW.closed_at := OLD.closed_at;
      IF OLD.status = NEW.status THEN
        NEW.approved_by := OLD.approved_by;
        NEW.reason := OLD.reason;
      END IF;
      -- (What an item's change brings, its trigger knows: only others are calculated after, and what is submitted.)
      IF OLD.status = 'draft' AND (NEW.status <> 'draft' OR NEW.total_amount <> OLD.total_amount AND pg_trigger_depth() < 2)
         AND NEW.total_amount <> (SELECT coalesce(sum(i.total_price), 0) FROM cloudwatcher.order_items i WHERE i.order_id = OLD.id) THEN
        RAISE EXCEPTION 'the total is that of the items' USING ERRCODE = '55000', DETAIL = format('order %s, total %s', OLD.id, NEW.total_amount),
          HINT = 'cloudwatcher.add_item(), change_item() and remove_item() change it', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
    END IF;
    IF NEW.status = 'draft' AND NEW.location_id IS NOT NULL THEN
      NEW.dept_id := coalesce((SELECT l.dept_id FROM cloudwatcher.locations l WHERE l.id = NEW.location_id), NEW.dept_id);
    END IF;
    IF TG_OP = 'INSERT' OR OLD.status = NEW.status THEN
      RETURN NEW;
    END IF;

    CASE OLD.status || ' > ' || NEW.status
    WHEN 'draft > pending-approval', 'draft > approved' THEN
      PERFORM cloudwatcher._require_complete(NEW.id, NEW.order_type, NEW.location_id, NEW.source_location_id);
      needed := cloudwatcher._levels_needed(NEW.id);
      IF (needed = 0) <> (NEW.status = 'approved') THEN
        RAISE EXCEPTION 'the order is not submitted like this' USING ERRCODE = '55000',
          DETAIL = format('order %s, total %s, needs %s approvals', NEW.id, NEW.total_amount, needed),
          HINT = 'cloudwatcher.submit_order() asks those who have to approve', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      NEW.approval_levels := needed;
      NEW.submitted_at := now();
      NEW.approved_at := CASE WHEN needed = 0 THEN now() END;
      NEW.approved_by := NULL;
      NEW.reason := NULL;
    WHEN 'pending-approval > approved' THEN
      SELECT count(*) FILTER (WHERE a.status = 'approved') INTO needed FROM cloudwatcher.order_approvals a
       WHERE a.order_id = NEW.id AND a.status IN ('approved', 'pending', 'waiting') HAVING bool_and(a.status = 'approved');
      IF needed IS DISTINCT FROM NEW.approval_levels
         OR NOT EXISTS (SELECT FROM cloudwatcher.order_approvals a
                         WHERE a.order_id = NEW.id AND a.approval_level = NEW.approval_levels AND a.status = 'approved'
                           AND a.decided_by = NEW.approved_by) THEN
        RAISE EXCEPTION 'the order has not been approved' USING ERRCODE = '55000',
          DETAIL = format('order %s needs %s approvals', NEW.id, NEW.approval_levels),
          HINT = 'cloudwatcher.decide_approval() approves, for whoever was asked', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      NEW.approved_at := now();
      NEW.reason := NULL;
    WHEN 'pending-approval > rejected' THEN
      IF NOT EXISTS (SELECT FROM cloudwatcher.order_approvals a
                      WHERE a.order_id = NEW.id AND a.status IN ('rejected', 'timed-out')) THEN
        RAISE EXCEPTION 'nobody rejected the order' USING ERRCODE = '55000', DETAIL = format('order %s', NEW.id),
          HINT = 'cloudwatcher.decide_approval() rejects, for whoever was asked', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      NEW.approved_by := NULL;
      NEW.closed_at := now();
    WHEN 'approved > ordered' THEN
      NEW.approved_by := OLD.approved_by;
      NEW.reason := NULL;
      NEW.ordered_at := now();
    WHEN 'ordered > received' THEN
      IF EXISTS (SELECT FROM cloudwatcher.order_items i WHERE i.order_id = NEW.id AND i.quantity_received < i.quantity_ordered) THEN
        RAISE EXCEPTION 'the order has not been received yet' USING ERRCODE = '55000', DETAIL = format('order %s', NEW.id),
          HINT = 'cloudwatcher.receive_items() receives what is open', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      NEW.approved_by := OLD.approved_by;
      NEW.reason := NULL;
      NEW.closed_at := now();
    WHEN 'draft > cancelled', 'pending-approval > cancelled', 'approved > cancelled', 'ordered > cancelled' THEN
      IF EXISTS (SELECT FROM cloudwatcher.order_items i WHERE i.order_id = NEW.id AND i.quantity_received > 0) THEN
        RAISE EXCEPTION 'something of the order has been received already' USING ERRCODE = '55000', DETAIL = format('order %s', NEW.id),
          HINT = 'receive the rest, and return what is not needed with an order of type return', SCHEMA = 'cloudwatcher', TABLE = 'orders';
      END IF;
      NEW.approved_by := OLD.approved_by;
      NEW.closed_at := now();
    ELSE
      RAISE EXCEPTION 'an order cannot go this way' USING ERRCODE = '55000',
        DETAIL = format('order %s from %s to %s', OLD.id, OLD.status, NEW.status),
        HINT = 'draft, pending-approval, approved, ordered, received, one after the other; or cancelled, or rejected',
        SCHEMA = 'cloudwatcher', TABLE = 'orders';
    END CASE;
    RETURN NEW;
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_complete(which uuid, order_type text, location uuid, source uuid) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    missing text;
  BEGIN
    missing := CASE WHEN $3 IS NULL THEN 'location'
      WHEN $2 = 'internal_transfer' AND $4 IS NULL THEN 'source location'
      WHEN NOT EXISTS (SELECT FROM cloudwatcher.order_items i WHERE i.order_id = $1) THEN 'items' END;
    IF missing IS NOT NULL THEN
      RAISE EXCEPTION 'the order is not complete' USING ERRCODE = '55000', DETAIL = format('order %s has no %s', $1, missing),
        HINT = 'cloudwatcher.set_order_location() and add_item() complete it', SCHEMA = 'cloudwatcher', TABLE = 'orders';
    END IF;
  END
  $body$;

-- Every transition is written down, and nobody is asked any more about what is settled.
CREATE FUNCTION cloudwatcher._note_order() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF TG_OP = 'INSERT' THEN
      PERFORM cloudwatcher._note_event(NEW.id, 'created', NULL, jsonb_build_object('order_type', NEW.order_type, 'created_by', NEW.created_by));
      RETURN NULL;
    END IF;
    IF (OLD.dept_id, OLD.location_id, OLD.source_location_id) IS DISTINCT FROM (NEW.dept_id, NEW.location_id, NEW.source_location_id) THEN
      PERFORM cloudwatcher._note_event(NEW.id, 'location-changed', NULL, jsonb_build_object(
        'location', NEW.location_id, 'source_location', NEW.source_location_id, 'department', NEW.dept_id));
    END IF;
    IF OLD.status = NEW.status THEN
      RETURN NULL;
    END IF;
    IF OLD.status = 'draft' AND NEW.status <> 'cancelled' THEN
      PERFORM cloudwatcher._note_event(NEW.id, 'submitted', NULL,
        jsonb_build_object('total', NEW.total_amount, 'approvals', NEW.approval_levels));
    END IF;
    IF NEW.status <> 'pending-approval' THEN
      PERFORM cloudwatcher._note_event(NEW.id, NEW.status, NEW.reason, jsonb_build_object('from', OLD.status, 'total', NEW.total_amount)
        || CASE WHEN NEW.approval_levels = 0 AND NEW.status = 'approved' THEN '{"automatic": true}' ELSE '{}' END::jsonb);
    END IF;
    IF OLD.status = 'pending-approval' THEN
      PERFORM gemba._refuse_foreign_owner('cloudwatcher.order_approvals');
      UPDATE cloudwatcher.order_approvals a SET status = 'cancelled'
       WHERE a.order_id = NEW.id AND a.status IN ('waiting', 'pending');
    END IF;
    RETURN NULL;
  END
  $body$;

-- Items -------------------------------------------------------------------------------------------

-- Takes the order's lock, so that nobody submits it while an item changes.
CREATE FUNCTION cloudwatcher._check_item() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    which uuid := CASE WHEN TG_OP = 'INSERT' THEN NEW.order_id ELSE OLD.order_id END;
    state text;
  BEGIN
    SELECT o.status INTO state FROM cloudwatcher.orders o WHERE o.id = which FOR NO KEY UPDATE;
    IF TG_OP = 'DELETE' THEN
      -- With the order itself.
      IF state IS NULL OR state = 'draft' THEN
        RETURN OLD;
      END IF;
    ELSIF TG_OP = 'INSERT' THEN
      IF state IS NULL OR state = 'draft' AND NEW.quantity_received = 0 THEN
        RETURN NEW;
      END IF;
    ELSIF (OLD.id, OLD.order_id, OLD.created_at) = (NEW.id, NEW.order_id, NEW.created_at) THEN
      IF state = 'draft' AND NEW.quantity_received = 0 THEN
        RETURN NEW;
      END IF;
      IF (OLD.part_id, OLD.variant_id, OLD.supplier_id, OLD.quantity_ordered, OLD.unit_price)
         IS NOT DISTINCT FROM (NEW.part_id, NEW.variant_id, NEW.supplier_id, NEW.quantity_ordered, NEW.unit_price)
         AND (OLD.quantity_received = NEW.quantity_received AND state IN ('approved', 'ordered')
              OR OLD.quantity_received < NEW.quantity_received AND state = 'ordered') THEN
        RETURN NEW;
      END IF;
    END IF;
    RAISE EXCEPTION 'the items of this order do not change any more' USING ERRCODE = '55000', DETAIL = format('order %s is %s', which, state),
      HINT = 'items change in drafts; later they are received, and nothing else', SCHEMA = 'cloudwatcher', TABLE = 'order_items';
  END
  $body$;

CREATE FUNCTION cloudwatcher._note_item() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    i record;
    change numeric := 0;
    before numeric;
  BEGIN
    IF TG_OP <> 'DELETE' THEN
      i := NEW;
      change := NEW.total_price;
    ELSE
      i := OLD;
    END IF;
    IF TG_OP <> 'INSERT' THEN
      change := change - OLD.total_price;
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.part_id, OLD.variant_id, OLD.supplier_id, OLD.quantity_ordered, OLD.unit_price)
       IS NOT DISTINCT FROM (NEW.part_id, NEW.variant_id, NEW.supplier_id, NEW.quantity_ordered, NEW.unit_price) THEN
      RETURN NULL;
    END IF;
    SELECT o.total_amount INTO before FROM cloudwatcher.orders o WHERE o.id = i.order_id;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    IF before + change >= 1e14 THEN
      RAISE EXCEPTION 'the amount is too great' USING ERRCODE = '22003',
        DETAIL = format('order %s: %s and %s more', i.order_id, before, change), HINT = 'order the rest with another order',
        SCHEMA = 'cloudwatcher', TABLE = 'order_items';
    END IF;
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.orders');
    UPDATE cloudwatcher.orders o SET total_amount = o.total_amount + change WHERE o.id = i.order_id;
    PERFORM cloudwatcher._note_event(i.order_id,
      CASE TG_OP WHEN 'INSERT' THEN 'item-added' WHEN 'UPDATE' THEN 'item-changed' ELSE 'item-removed' END, NULL,
      jsonb_build_object('item', i.id, 'part', i.part_id, 'variant', i.variant_id, 'supplier', i.supplier_id,
                         'quantity', i.quantity_ordered, 'unit_price', i.unit_price));
    RETURN NULL;
  END
  $body$;

-- Approvals ---------------------------------------------------------------------------------------

-- May this user be asked to approve anything?
CREATE FUNCTION cloudwatcher._can_approve(who uuid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$ SELECT cloudwatcher._allows($1, 'orders.approve') $body$;

CREATE FUNCTION cloudwatcher._stands_in(approver uuid, delegate uuid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT EXISTS (SELECT FROM cloudwatcher.approval_delegations d
                    WHERE d.approver_id = $1 AND d.delegate_id = $2
                      AND d.starts_at <= clock_timestamp() AND d.ends_at > clock_timestamp())
  $body$;

CREATE FUNCTION cloudwatcher._check_approval() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    o record;
  BEGIN
    IF TG_OP = 'DELETE' THEN
      -- With the order itself, which was a draft.
      IF NOT EXISTS (SELECT FROM cloudwatcher.orders t WHERE t.id = OLD.order_id) THEN
        RETURN OLD;
      END IF;
      RAISE EXCEPTION 'approvals are not deleted' USING ERRCODE = '55000', DETAIL = format('approval %s of order %s', OLD.id, OLD.order_id),
        HINT = 'cloudwatcher.cancel_order() ends an order', SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
    END IF;
    SELECT t.status, t.approval_levels INTO o FROM cloudwatcher.orders t WHERE t.id = NEW.order_id FOR NO KEY UPDATE;
    IF TG_OP = 'INSERT' THEN
      IF NEW.status NOT IN ('waiting', 'pending') OR o.status IS DISTINCT FROM 'pending-approval' OR NEW.approval_level > o.approval_levels THEN
        RAISE EXCEPTION 'nobody is asked for this approval' USING ERRCODE = '55000',
          DETAIL = format('order %s is %s; level %s, status %s', NEW.order_id, o.status, NEW.approval_level, NEW.status),
          HINT = 'cloudwatcher.submit_order() asks those who have to approve', SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
      END IF;
      IF NEW.approver_id = ANY (cloudwatcher._authors(NEW.order_id)) THEN
        RAISE EXCEPTION 'nobody approves an order of their own' USING ERRCODE = '42501',
          DETAIL = format('order %s, user %s', NEW.order_id, NEW.approver_id),
          HINT = 'somebody has to approve who neither created the order nor changed or submitted it',
          SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
      END IF;
      IF NEW.status = 'pending' THEN
        NEW.pending_since := coalesce(NEW.pending_since, now());
        NEW.asked_at := now();
      ELSE
        NEW.pending_since := NULL;
        NEW.asked_at := NULL;
      END IF;
      NEW.decision_at := NULL;
    ELSE
      IF (OLD.id, OLD.order_id, OLD.approver_id, OLD.in_place_of, OLD.approval_level, OLD.created_at)
         IS DISTINCT FROM (NEW.id, NEW.order_id, NEW.approver_id, NEW.in_place_of, NEW.approval_level, NEW.created_at)
         OR OLD.status NOT IN ('waiting', 'pending') OR OLD.status = NEW.status
         OR OLD.status = 'waiting' AND NEW.status NOT IN ('pending', 'cancelled') OR NEW.status = 'waiting' THEN
        RAISE EXCEPTION 'an approval stays what it is' USING ERRCODE = '55000',
          DETAIL = format('approval %s of order %s from %s to %s', OLD.id, OLD.order_id, OLD.status, NEW.status),
          HINT = 'cloudwatcher.decide_approval() decides what is pending, once', SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
      END IF;
      -- Cancelled is what is open when the order is settled.
      IF (NEW.status = 'cancelled') = (o.status = 'pending-approval') THEN
        RAISE EXCEPTION 'the order is not in the state for this' USING ERRCODE = '55000',
          DETAIL = format('order %s is %s', NEW.order_id, o.status),
          HINT = 'cloudwatcher.decide_approval() decides what is pending, and cancel_order() ends the order',
          SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
      END IF;
      NEW.pending_since := CASE WHEN OLD.status = 'waiting' AND NEW.status = 'pending' THEN now() ELSE OLD.pending_since END;
      NEW.asked_at := CASE WHEN OLD.status = 'waiting' AND NEW.status = 'pending' THEN now() ELSE OLD.asked_at END;
      NEW.decision_at := CASE WHEN NEW.status IN ('pending', 'cancelled') THEN NULL ELSE now() END;
      IF NEW.status IN ('approved', 'rejected') THEN
        PERFORM cloudwatcher._require_decider(NEW.id, NEW.order_id, NEW.approver_id, NEW.decided_by);
      END IF;
    END IF;
    -- One level after the other.
    IF NEW.status = 'pending' AND NEW.approval_level - 1 <>
       (SELECT count(*) FROM cloudwatcher.order_approvals a
         WHERE a.order_id = NEW.order_id AND a.approval_level < NEW.approval_level AND a.status = 'approved') THEN
      RAISE EXCEPTION 'a level before this one is not approved' USING ERRCODE = '55000',
        DETAIL = format('order %s, level %s', NEW.order_id, NEW.approval_level),
        HINT = 'levels are asked one after the other', SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
    END IF;
    RETURN NEW;
  END
  $body$;

-- Whoever decides is logged in, was asked or stands in for whoever was, and has had no other part in the order.
CREATE FUNCTION cloudwatcher._require_decider(approval uuid, which uuid, approver uuid, decider uuid) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    problem text;
    way_out text := 'the approver decides, or whom cloudwatcher.delegate_approval() or set_delegate() names';
  BEGIN
    IF $4 IS NULL OR $4 IS DISTINCT FROM gemba._user() THEN
      problem := 'approvals are decided by people who are logged in';
    ELSIF $4 = ANY (cloudwatcher._authors($2)) THEN
      problem := 'nobody approves an order of their own';
      way_out := 'somebody has to approve who neither created the order nor changed or submitted it';
    ELSIF NOT cloudwatcher._can_approve($4) THEN
      problem := 'permission is missing';
      way_out := 'ask for a role that permits orders.approve';
    ELSIF $4 <> $3 AND NOT (cloudwatcher._stands_in($3, $4) AND cloudwatcher._can_approve($3)) THEN
      problem := 'somebody else was asked to approve this order';
    ELSIF EXISTS (SELECT FROM cloudwatcher.order_approvals a
                   WHERE a.order_id = $2 AND a.id <> $1
                     AND (a.decided_by = $4
                          OR $4 IN (a.approver_id, a.in_place_of) AND a.status IN ('waiting', 'pending', 'approved'))) THEN
      problem := 'nobody decides two levels of an order';
    ELSE
      RETURN;
    END IF;
    RAISE EXCEPTION '%', problem USING ERRCODE = '42501',
      DETAIL = format('order %s, approver %s, user %s', $2, $3, coalesce($4::text, 'nobody')), HINT = way_out,
      SCHEMA = 'cloudwatcher', TABLE = 'order_approvals';
  END
  $body$;

-- History -----------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._keep_history() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    -- With the order itself, which was a draft.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM cloudwatcher.orders o WHERE o.id = OLD.order_id) THEN
      RETURN OLD;
    END IF;
    RAISE EXCEPTION 'history does not change' USING ERRCODE = '55000', DETAIL = format('event %s of order %s', OLD.id, OLD.order_id),
      HINT = 'what happens next is written down beside it', SCHEMA = 'cloudwatcher', TABLE = 'order_history';
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_truncate() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'orders are kept' USING ERRCODE = '55000', DETAIL = format('table %s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME),
      HINT = 'drafts can be deleted, and other orders be cancelled';
  END
  $body$;
