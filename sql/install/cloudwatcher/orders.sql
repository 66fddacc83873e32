-- Orders from the draft to the goods; who approves them is in approvals.sql. All of this runs with the extension's
-- rights and asks first who calls.

-- Which order, and may the caller -------------------------------------------------------------------

-- What its policy says too.
CREATE FUNCTION cloudwatcher._sees_order(who uuid, which uuid, department uuid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT cloudwatcher._is_service() OR cloudwatcher._allows($1, 'orders.read', $3)
        OR cloudwatcher._allows($1, 'orders.read') AND cloudwatcher._was_asked($1, $2)
  $body$;

CREATE FUNCTION cloudwatcher._was_asked(who uuid, which uuid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
    SELECT EXISTS (SELECT FROM cloudwatcher.order_approvals a
                    WHERE a.order_id = $2
                      AND (a.approver_id = $1 OR a.status = 'pending' AND cloudwatcher._stands_in(a.approver_id, $1)))
  $body$;

CREATE FUNCTION cloudwatcher._require_given(what text, given anyelement) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $2 IS NULL THEN
      RAISE EXCEPTION 'an argument must not be NULL' USING ERRCODE = '22004', DETAIL = $1, HINT = format('say which %s', $1);
    END IF;
  END
  $body$;

-- Holds an order until the transaction ends, for a caller who sees it and has the permission in its department.
-- Returns who is logged in.
CREATE FUNCTION cloudwatcher._hold_order(which uuid, permission text) RETURNS uuid
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._require('orders.read');
    department uuid;
  BEGIN
    PERFORM cloudwatcher._refuse_foreign_orders(), cloudwatcher._require_given('order', $1);
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      PERFORM gemba._require_current_snapshots('orders cannot be changed');
    END IF;
    -- Strangers do not hold it up.
    IF (SELECT cloudwatcher._sees_order(who, o.id, o.dept_id) FROM cloudwatcher.orders o WHERE o.id = $1) THEN
      SELECT o.dept_id INTO department FROM cloudwatcher.orders o WHERE o.id = $1 FOR NO KEY UPDATE;
      IF FOUND AND cloudwatcher._sees_order(who, $1, department) THEN
        IF $2 IS NOT NULL THEN
          PERFORM cloudwatcher._require($2, department);
        END IF;
        RETURN who;
      END IF;
    END IF;
    RAISE EXCEPTION 'the order was not found' USING ERRCODE = 'P0002', DETAIL = format('order %s', $1),
      HINT = 'cloudwatcher.orders lists those that you may see';
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_draft(which uuid) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    state text := (SELECT o.status FROM cloudwatcher.orders o WHERE o.id = $1);
  BEGIN
    IF state <> 'draft' THEN
      RAISE EXCEPTION 'the order is no draft any more' USING ERRCODE = '55000', DETAIL = format('order %s is %s', $1, state),
        HINT = 'cancel it and create another one';
    END IF;
  END
  $body$;

-- The department of a location that the caller may use for this.
CREATE FUNCTION cloudwatcher._location_department(location uuid, permission text) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._require($2);
    l record;
  BEGIN
    SELECT t.dept_id, t.is_active INTO l FROM cloudwatcher.locations t WHERE t.id = $1;
    IF NOT FOUND OR NOT (cloudwatcher._is_service() OR cloudwatcher._allows(who, $2, l.dept_id)) THEN
      RAISE EXCEPTION 'the location was not found' USING ERRCODE = 'P0002', DETAIL = format('location %s', $1),
        HINT = 'cloudwatcher.locations lists those that you may see';
    END IF;
    IF NOT l.is_active THEN
      RAISE EXCEPTION 'the location is not in use any more' USING ERRCODE = '55000', DETAIL = format('location %s', $1),
        HINT = 'choose one that is active';
    END IF;
    RETURN l.dept_id;
  END
  $body$;

-- Drafts ------------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._require_order_type(order_type text, source uuid) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $1 IS NULL OR $1 NOT IN ('purchase', 'internal_transfer', 'return') THEN
      RAISE EXCEPTION 'there is no such type of order' USING ERRCODE = '22023', DETAIL = format('order_type %s', coalesce($1, 'NULL')),
        HINT = 'use purchase, internal_transfer or return';
    END IF;
    IF $2 IS NOT NULL AND $1 <> 'internal_transfer' THEN
      RAISE EXCEPTION 'only a transfer has a source location' USING ERRCODE = '22023', DETAIL = format('order_type %s, source location %s', $1, $2),
        HINT = 'leave it out, or make the order an internal_transfer';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_two_locations(location uuid, source uuid) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $1 = $2 THEN
      RAISE EXCEPTION 'a transfer needs two locations' USING ERRCODE = '22023', DETAIL = format('location %s', $1), HINT = 'name another source';
    END IF;
  END
  $body$;

-- Whose order it becomes: that of whoever is logged in; servers say whose.
CREATE FUNCTION cloudwatcher._order_creator(who uuid, on_behalf_of uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    creator uuid := coalesce($2, $1);
  BEGIN
    IF $2 IS NOT NULL AND NOT cloudwatcher._is_service() THEN
      RAISE EXCEPTION 'only the application''s servers order for somebody else' USING ERRCODE = '42501',
        DETAIL = format('on behalf of %s, user %s', $2, coalesce($1::text, 'nobody')), HINT = 'leave on_behalf_of out';
    END IF;
    IF creator IS NULL THEN
      RAISE EXCEPTION 'somebody has to be the one who orders' USING ERRCODE = '22004', DETAIL = 'nobody is logged in',
        HINT = 'name a user in on_behalf_of';
    END IF;
    IF NOT EXISTS (SELECT FROM cloudwatcher.users u WHERE u.id = creator AND u.is_active) THEN
      RAISE EXCEPTION 'the user was not found' USING ERRCODE = 'P0002', DETAIL = format('user %s', creator),
        HINT = 'name an active user of cloudwatcher.users';
    END IF;
    RETURN creator;
  END
  $body$;

CREATE FUNCTION cloudwatcher.create_order(location uuid, order_type text DEFAULT 'purchase', source_location uuid DEFAULT NULL,
    id uuid DEFAULT NULL, on_behalf_of uuid DEFAULT NULL) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._require('orders.create');
    department uuid;
    creator uuid := cloudwatcher._order_creator(who, $5);
    made uuid;
    o record;
  BEGIN
    PERFORM cloudwatcher._refuse_foreign_orders(), cloudwatcher._require_given('location', $1), cloudwatcher._require_order_type($2, $3);
    department := cloudwatcher._location_department($1, 'orders.create');
    PERFORM cloudwatcher._require_two_locations($1, $3);
    IF $3 IS NOT NULL THEN
      PERFORM cloudwatcher._location_department($3, 'orders.create');
    END IF;
    INSERT INTO cloudwatcher.orders (id, order_type, dept_id, location_id, source_location_id, created_by)
    VALUES (coalesce($4, gen_random_uuid()), $2, department, $1, $3, creator)
    ON CONFLICT ON CONSTRAINT orders_pkey DO NOTHING
    RETURNING orders.id INTO made;
    IF made IS NULL THEN
      -- (Where it goes may have changed since.)
      SELECT t.order_type, t.created_by, t.request_id INTO o FROM cloudwatcher.orders t WHERE t.id = $4;
      IF (o.order_type, o.created_by, o.request_id) IS DISTINCT FROM ($2, creator, NULL::uuid) THEN
        RAISE EXCEPTION 'the id is that of another order' USING ERRCODE = '22023', DETAIL = format('order %s', $4), HINT = 'choose another id';
      END IF;
    END IF;
    RETURN coalesce(made, $4);
  END
  $body$;

CREATE FUNCTION cloudwatcher.create_order_from_request(request uuid, location uuid DEFAULT NULL, order_type text DEFAULT 'purchase',
    on_behalf_of uuid DEFAULT NULL) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._require('orders.create');
    creator uuid := cloudwatcher._order_creator(who, $4);
    service boolean := cloudwatcher._is_service();
    r record;
    o record;
    department uuid;
    made uuid;
  BEGIN
    PERFORM cloudwatcher._refuse_foreign_orders(), cloudwatcher._require_given('request', $1), cloudwatcher._require_order_type($3, NULL);
    SELECT t.dept_id INTO r FROM cloudwatcher.requests t WHERE t.id = $1;
    IF NOT FOUND OR NOT (service OR cloudwatcher._allows(who, 'requests.read', r.dept_id)) THEN
      RAISE EXCEPTION 'the request was not found' USING ERRCODE = 'P0002', DETAIL = format('request %s', $1),
        HINT = 'cloudwatcher.requests lists those that you may see';
    END IF;
    department := CASE WHEN $2 IS NULL THEN r.dept_id ELSE cloudwatcher._location_department($2, 'orders.create') END;
    IF department IS NULL THEN
      RAISE EXCEPTION 'the request belongs to no department' USING ERRCODE = '22023', DETAIL = format('request %s', $1),
        HINT = 'name the location that the goods are for';
    END IF;
    PERFORM cloudwatcher._require('orders.create', department);
    LOOP
      INSERT INTO cloudwatcher.orders (request_id, order_type, dept_id, location_id, created_by)
      VALUES ($1, $3, department, $2, creator)
      ON CONFLICT (request_id) WHERE status <> 'cancelled' AND status <> 'rejected' DO NOTHING
      RETURNING orders.id INTO made;
      IF made IS NOT NULL THEN
        RETURN made;
      END IF;
      SELECT t.id, t.order_type, t.location_id, t.dept_id INTO o FROM cloudwatcher.orders t
       WHERE t.request_id = $1 AND t.status <> 'cancelled' AND t.status <> 'rejected';
      -- (It may have come to nothing in between.)
      EXIT WHEN FOUND;
    END LOOP;
    IF o.order_type <> $3 OR NOT cloudwatcher._sees_order(who, o.id, o.dept_id) THEN
      RAISE EXCEPTION 'there is another order of this request' USING ERRCODE = '55000', DETAIL = format('request %s', $1),
        HINT = 'a request has one order at a time; cloudwatcher.create_order() makes more';
    END IF;
    IF $2 IS NOT NULL AND $2 IS DISTINCT FROM o.location_id THEN
      RAISE EXCEPTION 'the order of this request goes to another location' USING ERRCODE = '22023',
        DETAIL = format('order %s, location %s', o.id, coalesce(o.location_id::text, 'none')),
        HINT = 'cloudwatcher.set_order_location() changes it';
    END IF;
    RETURN o.id;
  END
  $body$;

CREATE FUNCTION cloudwatcher.set_order_location(order_id uuid, location uuid, source_location uuid DEFAULT NULL) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    department uuid;
  BEGIN
    PERFORM cloudwatcher._hold_order($1, 'orders.create'), cloudwatcher._require_given('location', $2);
    PERFORM cloudwatcher._require_draft($1);
    PERFORM cloudwatcher._require_order_type(o.order_type, $3) FROM cloudwatcher.orders o WHERE o.id = $1;
    department := cloudwatcher._location_department($2, 'orders.create');
    PERFORM cloudwatcher._require_two_locations($2, $3);
    IF $3 IS NOT NULL THEN
      PERFORM cloudwatcher._location_department($3, 'orders.create');
    END IF;
    UPDATE cloudwatcher.orders o SET location_id = $2, source_location_id = $3, dept_id = department
     WHERE o.id = $1 AND (o.location_id, o.source_location_id) IS DISTINCT FROM ($2, $3);
    RETURN department;
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_quantity(quantity int) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $1 IS NULL OR $1 < 1 THEN
      RAISE EXCEPTION 'the quantity must be at least 1' USING ERRCODE = CASE WHEN $1 IS NULL THEN '22004' ELSE '22023' END,
        DETAIL = format('quantity %s', coalesce($1::text, 'NULL')), HINT = 'cloudwatcher.remove_item() takes an item out';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_price(price numeric, quantity int) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF $1 IS NULL THEN
      RAISE EXCEPTION 'the price is not known' USING ERRCODE = '22004', DETAIL = 'unit_price NULL, and the supplier has none for the part',
        HINT = 'say what a unit costs';
    END IF;
    IF $1 = 'NaN' OR $1 < 0 OR $1 > 99999999.99 OR $1 <> round($1, 2) THEN
      RAISE EXCEPTION 'this is no price' USING ERRCODE = '22023', DETAIL = format('unit_price %s', $1),
        HINT = 'a price has at most two decimals, and is between 0 and 99999999.99';
    END IF;
    IF $1 * $2 >= 1e13 THEN
      RAISE EXCEPTION 'the amount is too great' USING ERRCODE = '22003', DETAIL = format('%s at %s', $2, $1), HINT = 'order less at once';
    END IF;
  END
  $body$;

-- What a supplier sells at least, to those who buy; returns what a unit costs.
CREATE FUNCTION cloudwatcher._require_minimum(which uuid, part uuid, variant uuid, supplier uuid, quantity int) RETURNS numeric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    offer record;
  BEGIN
    SELECT s.supplier_cost, s.minimum_order_qty INTO offer FROM cloudwatcher.part_suppliers s
     WHERE s.part_id = $2 AND s.supplier_id = $4 AND (s.variant_id = $3 OR s.variant_id IS NULL)
     ORDER BY s.variant_id LIMIT 1;
    IF offer.minimum_order_qty > $5 AND (SELECT o.order_type FROM cloudwatcher.orders o WHERE o.id = $1) = 'purchase' THEN
      RAISE EXCEPTION 'the supplier does not sell so few' USING ERRCODE = '22023',
        DETAIL = format('quantity %s, minimum %s, supplier %s', $5, offer.minimum_order_qty, $4),
        HINT = 'order the minimum, or from another supplier';
    END IF;
    RETURN offer.supplier_cost;
  END
  $body$;

CREATE FUNCTION cloudwatcher._require_delivery(day date) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF NOT isfinite($1) THEN
      RAISE EXCEPTION 'nothing is delivered on this day' USING ERRCODE = '22023', DETAIL = format('expected_delivery %s', $1),
        HINT = 'name a day, or leave it out';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher.add_item(order_id uuid, part uuid, quantity int, supplier uuid DEFAULT NULL, unit_price numeric DEFAULT NULL,
    variant uuid DEFAULT NULL, expected_delivery date DEFAULT NULL, item uuid DEFAULT NULL)
  RETURNS TABLE (item_id uuid, supplier_id uuid, price numeric, item_total numeric, order_total numeric)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    o record;
    i record;
    from_whom uuid := $4;
    costs numeric;
  BEGIN
    PERFORM cloudwatcher._hold_order($1, 'orders.create'), cloudwatcher._require_given('part', $2), cloudwatcher._require_quantity($3),
            cloudwatcher._require_delivery($7);
    SELECT t.order_type INTO o FROM cloudwatcher.orders t WHERE t.id = $1;
    SELECT s.* INTO i FROM cloudwatcher.order_items s WHERE s.id = $8;
    IF FOUND THEN
      IF (i.order_id, i.part_id, i.variant_id, i.quantity_ordered) IS DISTINCT FROM ($1, $2, $6, $3)
         OR i.supplier_id <> $4 OR i.unit_price <> $5 THEN
        RAISE EXCEPTION 'the id is that of another item' USING ERRCODE = '22023', DETAIL = format('item %s', $8),
          HINT = 'cloudwatcher.change_item() changes an item';
      END IF;
    ELSE
      PERFORM cloudwatcher._require_draft($1);
      PERFORM FROM cloudwatcher.parts p LEFT JOIN cloudwatcher.part_variants v ON v.part_id = p.id AND v.id = $6
        WHERE p.id = $2 AND p.is_active AND ($6 IS NULL OR v.is_available);
      IF NOT FOUND THEN
        RAISE EXCEPTION 'the part was not found' USING ERRCODE = 'P0002', DETAIL = format('part %s, variant %s', $2, coalesce($6::text, 'none')),
          HINT = 'order a part that is active, and a variant of it that is available';
      END IF;
      IF from_whom IS NULL THEN
        SELECT b.supplier_id INTO from_whom FROM cloudwatcher.best_supplier($2, $6, $3) AS b
         ORDER BY (o.order_type <> 'purchase' OR b.order_quantity = $3) DESC, b.rank LIMIT 1;
        IF NOT FOUND THEN
          RAISE EXCEPTION 'nobody sells this part' USING ERRCODE = '55000', DETAIL = format('part %s, variant %s', $2, coalesce($6::text, 'none')),
            HINT = 'name a supplier, or enter one in cloudwatcher.part_suppliers';
        END IF;
      ELSE
        PERFORM FROM cloudwatcher.suppliers s WHERE s.id = $4 AND s.is_active;
        IF NOT FOUND THEN
          RAISE EXCEPTION 'the supplier was not found' USING ERRCODE = 'P0002', DETAIL = format('supplier %s', $4),
            HINT = 'name one of cloudwatcher.suppliers that is active';
        END IF;
      END IF;
      costs := cloudwatcher._require_minimum($1, $2, $6, from_whom, $3);
      costs := coalesce($5, CASE WHEN o.order_type = 'internal_transfer' THEN 0 ELSE costs END);
      PERFORM cloudwatcher._require_price(costs, $3);
      INSERT INTO cloudwatcher.order_items (id, order_id, part_id, variant_id, supplier_id, quantity_ordered, unit_price, expected_delivery_date)
      VALUES (coalesce($8, gen_random_uuid()), $1, $2, $6, from_whom, $3, costs, $7)
      RETURNING * INTO i;
    END IF;
    RETURN QUERY SELECT i.id, i.supplier_id, i.unit_price, i.total_price, t.total_amount FROM cloudwatcher.orders t WHERE t.id = $1;
  END
  $body$;

CREATE FUNCTION cloudwatcher.change_item(item uuid, quantity int DEFAULT NULL, unit_price numeric DEFAULT NULL)
  RETURNS TABLE (item_id uuid, supplier_id uuid, price numeric, item_total numeric, order_total numeric)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    which uuid := cloudwatcher._order_of($1);
    i record;
  BEGIN
    PERFORM cloudwatcher._hold_order(which, 'orders.create');
    PERFORM cloudwatcher._require_draft(which);
    SELECT s.* INTO i FROM cloudwatcher.order_items s WHERE s.id = $1;
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_item($1);
    END IF;
    PERFORM cloudwatcher._require_quantity(coalesce($2, i.quantity_ordered)),
            cloudwatcher._require_price(coalesce($3, i.unit_price), coalesce($2, i.quantity_ordered));
    IF $2 IS NOT NULL THEN
      PERFORM cloudwatcher._require_minimum(which, i.part_id, i.variant_id, i.supplier_id, $2);
    END IF;
    UPDATE cloudwatcher.order_items s SET quantity_ordered = coalesce($2, s.quantity_ordered), unit_price = coalesce($3, s.unit_price)
     WHERE s.id = $1;
    RETURN QUERY SELECT s.id, s.supplier_id, s.unit_price, s.total_price, o.total_amount
                   FROM cloudwatcher.order_items s JOIN cloudwatcher.orders o ON o.id = s.order_id WHERE s.id = $1;
  END
  $body$;

CREATE FUNCTION cloudwatcher.remove_item(item uuid) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    which uuid := cloudwatcher._order_of($1, false);
  BEGIN
    IF which IS NULL THEN
      RETURN false;
    END IF;
    PERFORM cloudwatcher._hold_order(which, 'orders.create');
    PERFORM cloudwatcher._require_draft(which);
    DELETE FROM cloudwatcher.order_items s WHERE s.id = $1;
    RETURN FOUND;
  END
  $body$;

-- The order of an item, if the caller sees it; otherwise an error, or NULL.
CREATE FUNCTION cloudwatcher._order_of(item uuid, required boolean DEFAULT true) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._require('orders.read');
    which uuid;
  BEGIN
    PERFORM cloudwatcher._require_given('item', $1);
    SELECT o.id INTO which FROM cloudwatcher.order_items i JOIN cloudwatcher.orders o ON o.id = i.order_id
     WHERE i.id = $1 AND cloudwatcher._sees_order(who, o.id, o.dept_id);
    IF NOT FOUND AND $2 THEN
      PERFORM cloudwatcher._refuse_item($1);
    END IF;
    RETURN which;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_item(item uuid) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'the item was not found' USING ERRCODE = 'P0002', DETAIL = format('item %s', $1),
      HINT = 'cloudwatcher.order_items lists those of orders that you may see';
  END
  $body$;

-- From the approval to the goods --------------------------------------------------------------------

CREATE FUNCTION cloudwatcher.mark_ordered(order_id uuid, expected_delivery date DEFAULT NULL)
  RETURNS TABLE (status text, ordered_at timestamptz)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    o record;
  BEGIN
    PERFORM cloudwatcher._hold_order($1, 'orders.order'), cloudwatcher._require_delivery($2);
    SELECT t.status, l.dept_id AS source INTO o
      FROM cloudwatcher.orders t LEFT JOIN cloudwatcher.locations l ON l.id = t.source_location_id WHERE t.id = $1;
    -- What is taken from a depot is promised by whoever orders there too.
    IF o.source IS NOT NULL THEN
      PERFORM cloudwatcher._require('orders.order', o.source);
    END IF;
    IF o.status NOT IN ('ordered', 'received') THEN
      IF o.status <> 'approved' THEN
        RAISE EXCEPTION 'the order is not approved' USING ERRCODE = '55000', DETAIL = format('order %s is %s', $1, o.status),
          HINT = 'submit it, and let it be approved';
      END IF;
      UPDATE cloudwatcher.orders t SET status = 'ordered' WHERE t.id = $1;
      IF $2 IS NOT NULL THEN
        UPDATE cloudwatcher.order_items i SET expected_delivery_date = $2 WHERE i.order_id = $1;
      END IF;
    END IF;
    RETURN QUERY SELECT t.status::text, t.ordered_at FROM cloudwatcher.orders t WHERE t.id = $1;
  END
  $body$;

-- What was asked to be received: items and quantities, each item once. NULL: all that is open.
CREATE FUNCTION cloudwatcher._wanted_items(which uuid, items jsonb) RETURNS TABLE (item uuid, quantity int)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    wrong text;
  BEGIN
    IF $2 IS NULL THEN
      RETURN QUERY SELECT i.id, i.quantity_ordered - i.quantity_received FROM cloudwatcher.order_items i
                    WHERE i.order_id = $1 AND i.quantity_received < i.quantity_ordered;
      RETURN;
    END IF;
    IF jsonb_typeof($2) <> 'array' THEN
      wrong := 'not an array';
    ELSE
      SELECT coalesce(left(e.value::text, 100), '')
        INTO wrong FROM jsonb_array_elements($2) AS e
       WHERE CASE WHEN jsonb_typeof(e.value) <> 'object' THEN true
             ELSE e.value - '{item,quantity}'::text[] <> '{}'
               OR coalesce(e.value ->> 'item', '') !~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
               OR coalesce(jsonb_typeof(e.value -> 'quantity'), '') <> 'number' OR e.value ->> 'quantity' !~ '^[1-9][0-9]{0,8}$' END
       LIMIT 1;
      IF wrong IS NULL THEN
        SELECT format('item %s twice', min(e.value ->> 'item')) INTO wrong FROM jsonb_array_elements($2) AS e
         GROUP BY (e.value ->> 'item')::uuid HAVING count(*) > 1 LIMIT 1;
      END IF;
    END IF;
    IF wrong IS NOT NULL THEN
      RAISE EXCEPTION 'these are no items to receive' USING ERRCODE = '22023', DETAIL = wrong,
        HINT = 'use [{"item": "…", "quantity": 1}], each item once; NULL is all that is open';
    END IF;
    RETURN QUERY SELECT (e.value ->> 'item')::uuid, (e.value ->> 'quantity')::int FROM jsonb_array_elements($2) AS e;
  END
  $body$;

CREATE FUNCTION cloudwatcher.receive_items(order_id uuid, items jsonb DEFAULT NULL, operation uuid DEFAULT NULL)
  RETURNS TABLE (status text, received bigint, still_open bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    this uuid := coalesce($3, gen_random_uuid());
    o record;
    earlier jsonb;
    wrong record;
    r record;
    got bigint := 0;
    taken jsonb;
  BEGIN
    PERFORM cloudwatcher._hold_order($1, 'orders.receive'), gemba._refuse_foreign_owner('cloudwatcher.inventory');
    SELECT t.status, t.order_type, t.location_id, t.source_location_id, t.dept_id INTO o FROM cloudwatcher.orders t WHERE t.id = $1;
    -- The location may have gone to another department since.
    PERFORM cloudwatcher._require('orders.receive', l.dept_id) FROM cloudwatcher.locations l
      WHERE l.id = o.location_id AND l.dept_id <> o.dept_id;
    SELECT h.metadata INTO earlier FROM cloudwatcher.order_history h
     WHERE h.order_id = $1 AND h.event_type = 'received-part' AND h.metadata ->> 'operation' = $3::text;
    IF FOUND THEN
      IF earlier -> 'asked' IS DISTINCT FROM coalesce($2, 'null') THEN
        RAISE EXCEPTION 'the operation was another one' USING ERRCODE = '22023', DETAIL = format('operation %s of order %s', $3, $1),
          HINT = 'choose another id for it';
      END IF;
      got := (earlier ->> 'received')::bigint;
    ELSIF o.status = 'received' AND $2 IS NULL THEN
      NULL;
    ELSIF o.status <> 'ordered' THEN
      RAISE EXCEPTION 'nothing is expected of this order' USING ERRCODE = '55000', DETAIL = format('order %s is %s', $1, o.status),
        HINT = CASE WHEN o.status = 'approved' THEN 'cloudwatcher.mark_ordered() first' ELSE 'what is ordered can be received' END;
    ELSE
      SELECT jsonb_agg(jsonb_build_object('item', w.item, 'quantity', w.quantity)), sum(w.quantity) INTO taken, got
        FROM cloudwatcher._wanted_items($1, $2) AS w;
      IF taken IS NULL THEN
        RAISE EXCEPTION 'these are no items to receive' USING ERRCODE = '22023', DETAIL = 'none', HINT = 'name at least one';
      END IF;
      SELECT w.item, w.quantity, i.id, i.quantity_ordered - i.quantity_received AS open INTO wrong
        FROM cloudwatcher._wanted_items($1, $2) AS w LEFT JOIN cloudwatcher.order_items i ON i.id = w.item AND i.order_id = $1
       WHERE i.id IS NULL OR w.quantity > i.quantity_ordered - i.quantity_received
       ORDER BY w.item LIMIT 1;
      IF FOUND AND wrong.id IS NULL THEN
        PERFORM cloudwatcher._refuse_item(wrong.item);
      ELSIF FOUND THEN
        RAISE EXCEPTION 'this is more than is open' USING ERRCODE = '55000',
          DETAIL = format('item %s: %s open, %s came', wrong.item, wrong.open, wrong.quantity), HINT = 'order the rest with another order';
      END IF;
      -- All stock at once, whichever way it moves.
      PERFORM cloudwatcher._lock_stocks(array_agg(i.part_id), array_agg(i.variant_id), array_agg(l.location))
         FROM cloudwatcher._wanted_items($1, $2) AS w JOIN cloudwatcher.order_items i ON i.id = w.item
        CROSS JOIN (VALUES (o.location_id), (o.source_location_id)) AS l(location) WHERE l.location IS NOT NULL;
      -- (An operation of stock is of one item: two of them may be of the same part.)
      FOR r IN SELECT i.id, i.part_id, i.variant_id, w.quantity, md5(this::text || i.id::text)::uuid AS operation
                 FROM cloudwatcher._wanted_items($1, $2) AS w JOIN cloudwatcher.order_items i ON i.id = w.item
                ORDER BY i.part_id, i.variant_id, i.id
      LOOP
        CASE o.order_type
        WHEN 'purchase' THEN
          PERFORM cloudwatcher._receive(r.part_id, r.variant_id, o.location_id, r.quantity, r.operation, 'receive', cloudwatcher._actor(), format('order %s', $1));
        WHEN 'return' THEN
          PERFORM cloudwatcher._receive(r.part_id, r.variant_id, o.location_id, -r.quantity, r.operation, 'return', cloudwatcher._actor(), format('order %s', $1));
        ELSE
          PERFORM cloudwatcher._receive(r.part_id, r.variant_id, o.source_location_id, -r.quantity, r.operation, 'transfer-out', cloudwatcher._actor(), format('order %s', $1));
          PERFORM cloudwatcher._receive(r.part_id, r.variant_id, o.location_id, r.quantity, r.operation, 'transfer-in', cloudwatcher._actor(), format('order %s', $1));
        END CASE;
      END LOOP;
      UPDATE cloudwatcher.order_items i SET quantity_received = i.quantity_received + (w.e ->> 'quantity')::int
        FROM jsonb_array_elements(taken) AS w(e) WHERE i.id = (w.e ->> 'item')::uuid;
      PERFORM cloudwatcher._note_event($1, 'received-part', NULL,
        jsonb_build_object('operation', this, 'asked', $2, 'items', taken, 'received', got));
      UPDATE cloudwatcher.orders t SET status = 'received'
       WHERE t.id = $1 AND NOT EXISTS (SELECT FROM cloudwatcher.order_items i WHERE i.order_id = t.id AND i.quantity_received < i.quantity_ordered);
    END IF;
    RETURN QUERY SELECT t.status::text, got,
      (SELECT sum(i.quantity_ordered - i.quantity_received) FROM cloudwatcher.order_items i WHERE i.order_id = t.id)
      FROM cloudwatcher.orders t WHERE t.id = $1;
  END
  $body$;

CREATE FUNCTION cloudwatcher.cancel_order(order_id uuid, reason text DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    who uuid := cloudwatcher._hold_order($1, NULL);
    o record;
  BEGIN
    SELECT t.status, t.created_by, t.dept_id INTO o FROM cloudwatcher.orders t WHERE t.id = $1;
    -- One's own, or with the permission.
    PERFORM cloudwatcher._require(CASE WHEN o.created_by = who THEN 'orders.create' ELSE 'orders.cancel' END, o.dept_id);
    IF o.status <> 'cancelled' THEN
      IF o.status IN ('received', 'rejected') THEN
        RAISE EXCEPTION 'the order has ended' USING ERRCODE = '55000', DETAIL = format('order %s is %s', $1, o.status),
          HINT = 'goods go back with an order of type return';
      END IF;
      UPDATE cloudwatcher.orders t SET status = 'cancelled', reason = nullif(btrim($2), '') WHERE t.id = $1;
    END IF;
    RETURN 'cancelled';
  END
  $body$;
