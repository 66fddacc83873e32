-- Stock moves by these functions only. Each of them locks the row of the stock first (several of them, those that it
-- has to make included, in the order of part, variant and location: _lock_stocks), and then what hangs on it:
-- reservations, movements. So nobody waits for anybody in a circle, and what is promised or taken is what was there.

-- Guards ------------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._not_found(what text, id uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF id IS NULL THEN
      RAISE EXCEPTION '% is missing', what USING ERRCODE = '22004', DETAIL = format('%s NULL', what),
        HINT = format('give the id of a %s', what);
    END IF;
    RAISE EXCEPTION '% not found', what USING ERRCODE = 'P0002', DETAIL = format('%s %s', what, id),
      HINT = format('give the id of a %s that you see', what);
  END
  $body$;

-- Returns who moves stock at a location, NULL for a server that acts for nobody. A location that one does not see
-- is one that there is not, and nor is what is there.
CREATE FUNCTION cloudwatcher._stock_keeper(location uuid, permission text, closed_too boolean, what text, id uuid) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid := gemba._user();
    department uuid;
    active boolean;
  BEGIN
    SELECT l.dept_id, l.is_active INTO department, active FROM cloudwatcher.locations l WHERE l.id = location;
    IF department IS NULL THEN
      PERFORM cloudwatcher._not_found(what, _stock_keeper.id);
    END IF;
    IF cloudwatcher._is_service() THEN
      SELECT u.id INTO who FROM cloudwatcher.users u WHERE u.id = who;
    ELSIF NOT cloudwatcher._allows(who, permission, department) THEN
      IF NOT cloudwatcher._allows(who, 'inventory.read', department) THEN
        PERFORM cloudwatcher._not_found(what, _stock_keeper.id);
      END IF;
      PERFORM cloudwatcher._require(permission, department);
    END IF;
    IF NOT active AND NOT closed_too THEN
      RAISE EXCEPTION 'the location is closed' USING ERRCODE = '55000', DETAIL = format('location %s', location),
        HINT = 'choose another one, or set its is_active; what it still has can be consumed, counted and transferred away';
    END IF;
    RETURN who;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_quantity(quantity int) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF quantity IS NULL THEN
      RAISE EXCEPTION 'a quantity is needed' USING ERRCODE = '22004', DETAIL = 'quantity NULL', HINT = 'give a number above 0';
    END IF;
    RAISE EXCEPTION 'the quantity is out of its range' USING ERRCODE = '22023', DETAIL = format('quantity %s', quantity),
      HINT = 'give a number above 0';
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_part(part uuid, variant uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF NOT EXISTS (SELECT FROM cloudwatcher.parts p WHERE p.id = part) THEN
      PERFORM cloudwatcher._not_found('part', part);
    END IF;
    IF variant IS NOT NULL AND NOT EXISTS (
      SELECT FROM cloudwatcher.part_variants v WHERE v.part_id = part AND v.id = variant)
    THEN
      RAISE EXCEPTION 'variant not found' USING ERRCODE = 'P0002', DETAIL = format('variant %s of part %s', variant, part),
        HINT = 'give the id of a row of cloudwatcher.part_variants of this part, or none';
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_stock(part uuid, location uuid, available int, wanted int) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'not enough stock' USING ERRCODE = '55000',
      DETAIL = format('available %s, wanted %s; part %s, location %s', available, wanted, part, location),
      HINT = 'take less, or order or transfer more';
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_repeat(operation uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'this id stands for something else' USING ERRCODE = '22023', DETAIL = format('id %s', operation),
      HINT = 'give each operation an id of its own, and the same one only to repeat it as it was';
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'records of stock are not changed' USING ERRCODE = '55000', DETAIL = format('%s on cloudwatcher.%s', TG_OP, TG_TABLE_NAME),
      HINT = 'use the functions: consume_part, count_stock, receive_stock, release_stock, reserve_stock, transfer_stock',
      SCHEMA = 'cloudwatcher', TABLE = TG_TABLE_NAME;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_oversell() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    PERFORM cloudwatcher._refuse_stock(OLD.part_id, OLD.location_id, OLD.quantity_on_hand - OLD.quantity_reserved,
                                       NEW.quantity_reserved - OLD.quantity_reserved);
    RETURN NULL;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_loss() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF OLD.quantity_on_hand > 0 OR OLD.quantity_reserved > 0 THEN
      RAISE EXCEPTION 'there is stock of it' USING ERRCODE = '55000',
        DETAIL = format('part %s, location %s: on hand %s, reserved %s', OLD.part_id, OLD.location_id, OLD.quantity_on_hand,
                        OLD.quantity_reserved),
        HINT = 'set is_active of the part or the location (is_available of a variant) to false instead',
        SCHEMA = 'cloudwatcher', TABLE = 'inventory';
    END IF;
    -- An empty one too has records, which would go with it.
    IF EXISTS (SELECT FROM cloudwatcher.stock_movements m WHERE m.inventory_id = OLD.id)
       OR EXISTS (SELECT FROM cloudwatcher.stock_reservations r WHERE r.inventory_id = OLD.id)
    THEN
      RAISE EXCEPTION 'there are records of it' USING ERRCODE = '55000',
        DETAIL = format('part %s, location %s: stock has moved or was reserved', OLD.part_id, OLD.location_id),
        HINT = 'set is_active of the part or the location (is_available of a variant) to false instead',
        SCHEMA = 'cloudwatcher', TABLE = 'inventory';
    END IF;
    RETURN OLD;
  END
  $body$;

-- Steps -------------------------------------------------------------------------------------------

-- The row of a stock. Made where there is none yet, if that is wanted; otherwise NULL.
CREATE FUNCTION cloudwatcher._stock(part uuid, variant uuid, location uuid, make boolean) RETURNS uuid
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    stock uuid;
  BEGIN
    -- (Of these two, one finds nothing at once. IS NOT DISTINCT FROM would not find its way by the index.)
    SELECT i.id INTO stock FROM cloudwatcher.inventory i
     WHERE i.part_id = part AND i.variant_id = variant AND i.location_id = location
    UNION ALL
    SELECT i.id FROM cloudwatcher.inventory i
     WHERE i.part_id = part AND i.variant_id IS NULL AND i.location_id = location AND variant IS NULL;
    IF stock IS NULL THEN
      PERFORM cloudwatcher._refuse_part(part, variant);
      IF make THEN
        INSERT INTO cloudwatcher.inventory (part_id, variant_id, location_id) VALUES (part, variant, location)
        ON CONFLICT (part_id, variant_id, location_id) DO NOTHING;
        SELECT i.id INTO stock FROM cloudwatcher.inventory i
         WHERE i.part_id = part AND i.variant_id IS NOT DISTINCT FROM variant AND i.location_id = location;
      END IF;
    END IF;
    RETURN stock;
  END
  $body$;

-- Locks several stocks, and makes those that there are not yet: always in the same order, made or found.
CREATE FUNCTION cloudwatcher._lock_stocks(parts uuid[], variants uuid[], locations uuid[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  DECLARE
    s record;
    stock uuid;
  BEGIN
    FOR s IN SELECT DISTINCT w.part, w.variant, w.location
               FROM unnest(parts, variants, locations) AS w(part, variant, location) ORDER BY 1, 2, 3
    LOOP
      stock := cloudwatcher._stock(s.part, s.variant, s.location, true);
      PERFORM FROM cloudwatcher.inventory i WHERE i.id = stock FOR NO KEY UPDATE;
    END LOOP;
  END
  $body$;

-- What an operation did before; nothing if it is new. An id stands for one movement wherever it was (for two of a
-- transfer, one at each end), and is refused for any other. The caller has locked the stock.
CREATE FUNCTION cloudwatcher._done(
    operation uuid, stock uuid, movement text, notes text, OUT id uuid, OUT quantity int, OUT on_hand int, OUT reservation uuid)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    m record;
  BEGIN
    SELECT d.* INTO m FROM cloudwatcher.stock_movements d
     WHERE d.operation_id = operation AND (d.movement_type = 'transfer-in') = (movement = 'transfer-in');
    IF FOUND THEN
      IF m.inventory_id <> stock OR m.movement_type <> movement OR m.notes IS DISTINCT FROM _done.notes THEN
        PERFORM cloudwatcher._refuse_repeat(operation);
      END IF;
      id := m.id;
      quantity := m.quantity;
      on_hand := m.on_hand;
      reservation := m.reservation_id;
    END IF;
  END
  $body$;

-- Changes what is on hand of a stock, once for each operation. The caller has locked the row.
CREATE FUNCTION cloudwatcher._move(
    stock uuid, movement text, quantity int, operation uuid, who uuid, notes text, from_reserved int DEFAULT 0,
    movement_id uuid DEFAULT NULL, reservation uuid DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    s record;
    left_over bigint;
    there int;
  BEGIN
    SELECT i.part_id, i.location_id, i.quantity_on_hand, i.quantity_available INTO s
      FROM cloudwatcher.inventory i WHERE i.id = stock;
    left_over := s.quantity_on_hand::bigint + quantity;
    -- What was counted was counted; everything else takes what is there and not promised to others.
    there := CASE WHEN from_reserved > 0 THEN s.quantity_on_hand ELSE s.quantity_available END;
    IF quantity < 0 AND movement <> 'count' AND there < -quantity THEN
      PERFORM cloudwatcher._refuse_stock(s.part_id, s.location_id, there, -quantity);
    END IF;
    IF left_over > 2147483647 THEN
      RAISE EXCEPTION 'so much stock has no place in a number' USING ERRCODE = '22003',
        DETAIL = format('on hand %s and %s more; part %s, location %s', s.quantity_on_hand, quantity, s.part_id, s.location_id),
        HINT = 'keep at most 2147483647 of a part at a location';
    END IF;
    UPDATE cloudwatcher.inventory AS i
       SET quantity_on_hand = i.quantity_on_hand + quantity, quantity_reserved = i.quantity_reserved - from_reserved,
           last_counted_at = CASE WHEN movement = 'count' THEN now() ELSE i.last_counted_at END, last_updated_at = now()
     WHERE i.id = stock;
    -- By the clock: movements of a stock stand in the order in which they took turns.
    INSERT INTO cloudwatcher.stock_movements
           (id, inventory_id, location_id, movement_type, quantity, on_hand, operation_id, reservation_id, moved_by, notes, created_at)
    VALUES (coalesce(movement_id, gen_random_uuid()), stock, s.location_id, movement, quantity, left_over, operation, reservation, who,
            _move.notes, clock_timestamp())
    ON CONFLICT DO NOTHING;
    -- Somebody did something else with the id, somewhere else and at the same time.
    IF NOT FOUND THEN
      PERFORM cloudwatcher._refuse_repeat(operation);
    END IF;
  END
  $body$;

-- What receiving does, for whoever has asked for permission already. A negative quantity takes from what is
-- available: goods that are returned, or leave for another location. Once for each operation.
CREATE FUNCTION cloudwatcher._receive(
    part uuid, variant uuid, location uuid, quantity int, operation uuid, movement text, who uuid, notes text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    stock uuid;
    done int;
  BEGIN
    IF movement IS NULL OR movement NOT IN ('receive', 'transfer-in', 'transfer-out', 'return') OR operation IS NULL THEN
      RAISE EXCEPTION 'stock does not move like this' USING ERRCODE = '22023',
        DETAIL = format('movement %s, operation %s', coalesce(movement, 'NULL'), coalesce(operation::text, 'NULL')),
        HINT = 'use receive, transfer-in, transfer-out or return, and an id for the operation';
    END IF;
    IF quantity IS NULL OR quantity = 0 OR (quantity > 0) <> (movement IN ('receive', 'transfer-in')) OR quantity = -2147483648 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    stock := cloudwatcher._stock(part, variant, location, true);
    PERFORM FROM cloudwatcher.inventory i WHERE i.id = stock FOR NO KEY UPDATE;
    SELECT d.quantity INTO done FROM cloudwatcher._done(operation, stock, movement, notes) d;
    IF done IS NULL THEN
      PERFORM cloudwatcher._move(stock, movement, quantity, operation, who, notes);
    ELSIF done <> quantity THEN
      PERFORM cloudwatcher._refuse_repeat(operation);
    END IF;
  END
  $body$;

-- Promises ----------------------------------------------------------------------------------------

-- A server's clients may be many and their parts few: one statement takes and writes it down, and nothing is looked
-- up twice.
CREATE FUNCTION cloudwatcher.reserve_stock(
    part uuid, location uuid, quantity int, variant uuid DEFAULT NULL, reservation uuid DEFAULT NULL, notes text DEFAULT NULL)
  RETURNS TABLE (reservation_id uuid, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid;
    stock uuid;
    there int;
    taken boolean;
    r record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_reservations');
    IF quantity IS NULL OR quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    who := cloudwatcher._stock_keeper(location, 'inventory.write', false, 'location', location);
    reservation_id := coalesce(reservation, gen_random_uuid());
    WITH room AS (
      UPDATE cloudwatcher.inventory AS i
         SET quantity_reserved = i.quantity_reserved + quantity, last_updated_at = now()
       WHERE i.id = (SELECT f.id FROM cloudwatcher.inventory f
                      WHERE f.part_id = part AND f.variant_id = variant AND f.location_id = location
                     UNION ALL
                     SELECT f.id FROM cloudwatcher.inventory f
                      WHERE f.part_id = part AND f.variant_id IS NULL AND f.location_id = location AND variant IS NULL)
         AND i.quantity_on_hand - i.quantity_reserved >= quantity
      RETURNING i.id, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
    ), written AS (
      INSERT INTO cloudwatcher.stock_reservations (id, inventory_id, location_id, quantity, open, reserved_by, notes)
      SELECT reservation_id, m.id, location, quantity, quantity, who, reserve_stock.notes FROM room m
      ON CONFLICT (id) DO NOTHING
      RETURNING true AS done)
    SELECT m.id, m.quantity_on_hand, m.quantity_reserved, m.quantity_available, coalesce((SELECT w.done FROM written w), false)
      INTO stock, quantity_on_hand, quantity_reserved, quantity_available, taken
      FROM room m;
    IF taken THEN
      RETURN NEXT;
      RETURN;
    END IF;
    -- A repetition (also of one that went on at the same time), or there is not enough.
    IF stock IS NOT NULL THEN
      UPDATE cloudwatcher.inventory AS i SET quantity_reserved = i.quantity_reserved - quantity WHERE i.id = stock;
    END IF;
    stock := cloudwatcher._stock(part, variant, location, false);
    SELECT o.inventory_id, o.quantity, o.notes INTO r FROM cloudwatcher.stock_reservations o WHERE o.id = reservation;
    IF FOUND THEN
      IF r.inventory_id IS DISTINCT FROM stock OR r.quantity <> quantity OR r.notes IS DISTINCT FROM reserve_stock.notes THEN
        PERFORM cloudwatcher._refuse_repeat(reservation);
      END IF;
      RETURN QUERY SELECT reservation, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
                     FROM cloudwatcher.inventory i WHERE i.id = stock;
      RETURN;
    END IF;
    SELECT i.quantity_available INTO there FROM cloudwatcher.inventory i WHERE i.id = stock;
    PERFORM cloudwatcher._refuse_stock(part, location, coalesce(there, 0), quantity);
  END
  $body$;

-- What is still open of a reservation, its stock locked.
CREATE FUNCTION cloudwatcher._hold_reservation(
    reservation uuid, OUT stock uuid, OUT still_open int, OUT releases uuid[], OUT released int[], OUT who uuid)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    location uuid;
  BEGIN
    SELECT o.inventory_id, o.location_id INTO stock, location FROM cloudwatcher.stock_reservations o WHERE o.id = reservation;
    who := cloudwatcher._stock_keeper(location, 'inventory.write', true, 'reservation', reservation);
    PERFORM FROM cloudwatcher.inventory i WHERE i.id = stock FOR NO KEY UPDATE;
    SELECT o.open, o.releases, o.released INTO still_open, releases, released FROM cloudwatcher.stock_reservations o WHERE o.id = reservation;
    IF still_open IS NULL THEN
      PERFORM cloudwatcher._not_found('reservation', reservation);
    END IF;
  END
  $body$;

CREATE FUNCTION cloudwatcher._refuse_open(reservation uuid, still_open int, wanted int) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    RAISE EXCEPTION 'less is reserved' USING ERRCODE = '55000',
      DETAIL = format('open %s, wanted %s; reservation %s', still_open, wanted, reservation),
      HINT = 'take at most what is open of the reservation';
  END
  $body$;

-- All that is open, which is the same again and again; or some of it, once for each operation that has an id.
CREATE FUNCTION cloudwatcher.release_stock(reservation uuid, quantity int DEFAULT NULL, operation uuid DEFAULT NULL)
  RETURNS TABLE (reservation_id uuid, open int, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    held record;
    amount int;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_reservations');
    IF quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    SELECT h.stock, h.still_open, h.releases, h.released INTO held FROM cloudwatcher._hold_reservation(reservation) h;
    amount := coalesce(quantity, held.still_open);
    IF operation = ANY (held.releases) THEN
      IF held.released[array_position(held.releases, operation)] IS DISTINCT FROM quantity THEN
        PERFORM cloudwatcher._refuse_repeat(operation);
      END IF;
      amount := 0;
    ELSIF operation IS NOT NULL AND EXISTS (
      SELECT FROM cloudwatcher.stock_reservations o WHERE o.releases @> ARRAY[operation] AND o.releases <> '{}')
    THEN
      PERFORM cloudwatcher._refuse_repeat(operation);
    END IF;
    IF amount > held.still_open THEN
      PERFORM cloudwatcher._refuse_open(reservation, held.still_open, amount);
    END IF;
    IF amount > 0 THEN
      UPDATE cloudwatcher.stock_reservations AS o
         SET open = o.open - amount, updated_at = now(),
             releases = CASE WHEN operation IS NULL THEN o.releases ELSE o.releases || operation END,
             released = CASE WHEN operation IS NULL THEN o.released ELSE array_append(o.released, release_stock.quantity) END
       WHERE o.id = reservation;
    END IF;
    RETURN QUERY
      UPDATE cloudwatcher.inventory AS i
         SET quantity_reserved = i.quantity_reserved - amount,
             last_updated_at = CASE WHEN amount > 0 THEN now() ELSE i.last_updated_at END
       WHERE i.id = held.stock
      RETURNING reservation, held.still_open - amount, i.quantity_on_hand, i.quantity_reserved, i.quantity_available;
  END
  $body$;

-- What comes and goes ------------------------------------------------------------------------------

-- Taken from a reservation, or from what nobody has reserved. The record has the id of its movement.
CREATE FUNCTION cloudwatcher.consume_part(
    part uuid, location uuid, quantity int, variant uuid DEFAULT NULL, reservation uuid DEFAULT NULL, consumed_on date DEFAULT NULL,
    notes text DEFAULT NULL, operation uuid DEFAULT NULL)
  RETURNS TABLE (consumption_id uuid, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid;
    stock uuid;
    done record;
    held record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_movements'),
            gemba._refuse_foreign_owner('cloudwatcher.stock_reservations'), gemba._refuse_foreign_owner('cloudwatcher.part_consumption');
    IF quantity IS NULL OR quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    -- (A day more: it may be tomorrow already where the parts are.)
    IF consumed_on > current_date + 1 OR NOT isfinite(consumed_on) THEN
      RAISE EXCEPTION 'nothing is consumed in the future' USING ERRCODE = '22023', DETAIL = format('consumed_on %s', consumed_on),
        HINT = 'give the day on which it was used';
    END IF;
    who := cloudwatcher._stock_keeper(location, 'inventory.write', true, 'location', location);
    stock := cloudwatcher._stock(part, variant, location, false);
    IF stock IS NULL THEN
      PERFORM cloudwatcher._refuse_stock(part, location, 0, quantity);
    END IF;
    PERFORM FROM cloudwatcher.inventory i WHERE i.id = stock FOR NO KEY UPDATE;
    IF operation IS NOT NULL THEN
      SELECT d.id, d.quantity, d.reservation, c.consumption_date AS day, c.created_at::date AS recorded INTO done
        FROM cloudwatcher._done(operation, stock, 'consume', notes) d JOIN cloudwatcher.part_consumption c ON c.id = d.id;
      -- (Without a day it was that of the call, which the repetition may ask in another time zone.)
      IF FOUND AND (done.quantity <> -quantity OR done.reservation IS DISTINCT FROM consume_part.reservation
                    OR coalesce(consumed_on <> done.day, abs(done.day - done.recorded) > 1))
      THEN
        PERFORM cloudwatcher._refuse_repeat(operation);
      END IF;
      consumption_id := done.id;
    END IF;
    IF consumption_id IS NULL THEN
      consumption_id := gen_random_uuid();
      IF reservation IS NOT NULL THEN
        SELECT o.inventory_id, o.open INTO held FROM cloudwatcher.stock_reservations o WHERE o.id = reservation;
        IF NOT FOUND OR held.inventory_id <> stock THEN
          RAISE EXCEPTION 'reservation not found' USING ERRCODE = 'P0002',
            DETAIL = format('reservation %s of part %s, location %s', reservation, part, location),
            HINT = 'give the id of a reservation of this part at this location, or none';
        END IF;
        IF held.open < quantity THEN
          PERFORM cloudwatcher._refuse_open(reservation, held.open, quantity);
        END IF;
      END IF;
      PERFORM cloudwatcher._move(stock, 'consume', -quantity, coalesce(operation, consumption_id), who, notes,
                                 CASE WHEN reservation IS NULL THEN 0 ELSE quantity END, consumption_id, reservation);
      IF reservation IS NOT NULL THEN
        UPDATE cloudwatcher.stock_reservations AS o SET open = o.open - consume_part.quantity, updated_at = now() WHERE o.id = reservation;
      END IF;
      INSERT INTO cloudwatcher.part_consumption
             (id, part_id, variant_id, location_id, quantity_consumed, consumption_date, consumed_by, notes)
      VALUES (consumption_id, part, variant, location, quantity, coalesce(consumed_on, current_date), who, consume_part.notes);
    END IF;
    RETURN QUERY SELECT consume_part.consumption_id, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
                   FROM cloudwatcher.inventory i WHERE i.id = stock;
  END
  $body$;

CREATE FUNCTION cloudwatcher.receive_stock(
    part uuid, location uuid, quantity int, variant uuid DEFAULT NULL, operation uuid DEFAULT NULL, notes text DEFAULT NULL)
  RETURNS TABLE (operation_id uuid, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid;
    stock uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_movements');
    IF quantity IS NULL OR quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    who := cloudwatcher._stock_keeper(location, 'inventory.write', false, 'location', location);
    operation_id := coalesce(operation, gen_random_uuid());
    PERFORM cloudwatcher._receive(part, variant, location, quantity, operation_id, 'receive', who, notes);
    stock := cloudwatcher._stock(part, variant, location, false);
    RETURN QUERY SELECT receive_stock.operation_id, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
                   FROM cloudwatcher.inventory i WHERE i.id = stock;
  END
  $body$;

-- Both ends at once, the source first in the answer. Whoever takes it away has to see where it goes.
CREATE FUNCTION cloudwatcher.transfer_stock(
    part uuid, from_location uuid, to_location uuid, quantity int, variant uuid DEFAULT NULL, operation uuid DEFAULT NULL,
    notes text DEFAULT NULL)
  RETURNS TABLE (operation_id uuid, location_id uuid, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid;
    source uuid;
    target uuid;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_movements');
    IF quantity IS NULL OR quantity < 1 THEN
      PERFORM cloudwatcher._refuse_quantity(quantity);
    END IF;
    who := cloudwatcher._stock_keeper(from_location, 'inventory.write', true, 'location', from_location);
    PERFORM cloudwatcher._stock_keeper(to_location, 'inventory.read', false, 'location', to_location);
    IF from_location = to_location THEN
      RAISE EXCEPTION 'it is there already' USING ERRCODE = '22023', DETAIL = format('from and to location %s', to_location),
        HINT = 'give two locations';
    END IF;
    operation_id := coalesce(operation, gen_random_uuid());
    PERFORM cloudwatcher._lock_stocks(ARRAY[part, part], ARRAY[variant, variant], ARRAY[from_location, to_location]);
    source := cloudwatcher._stock(part, variant, from_location, false);
    target := cloudwatcher._stock(part, variant, to_location, false);
    PERFORM cloudwatcher._receive(part, variant, from_location, -quantity, operation_id, 'transfer-out', who, notes);
    PERFORM cloudwatcher._receive(part, variant, to_location, quantity, operation_id, 'transfer-in', who, notes);
    RETURN QUERY SELECT transfer_stock.operation_id, i.location_id, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
                   FROM cloudwatcher.inventory i WHERE i.id IN (source, target) ORDER BY i.id = target;
  END
  $body$;

-- What was counted is what there is, also where more was promised.
CREATE FUNCTION cloudwatcher.count_stock(
    part uuid, location uuid, counted int, variant uuid DEFAULT NULL, operation uuid DEFAULT NULL, notes text DEFAULT NULL)
  RETURNS TABLE (operation_id uuid, difference int, quantity_on_hand int, quantity_reserved int, quantity_available int)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid;
    stock uuid;
    before int;
    done record;
  BEGIN
    PERFORM gemba._refuse_foreign_owner('cloudwatcher.inventory'), gemba._refuse_foreign_owner('cloudwatcher.stock_movements');
    IF counted IS NULL OR counted < 0 THEN
      PERFORM cloudwatcher._refuse_quantity(counted);
    END IF;
    who := cloudwatcher._stock_keeper(location, 'inventory.count', true, 'location', location);
    operation_id := coalesce(operation, gen_random_uuid());
    stock := cloudwatcher._stock(part, variant, location, true);
    SELECT i.quantity_on_hand INTO before FROM cloudwatcher.inventory i WHERE i.id = stock FOR NO KEY UPDATE;
    SELECT d.quantity, d.on_hand INTO done FROM cloudwatcher._done(operation_id, stock, 'count', notes) d;
    IF done.on_hand IS NULL THEN
      difference := counted - before;
      PERFORM cloudwatcher._move(stock, 'count', difference, operation_id, who, notes);
    ELSE
      difference := done.quantity;
      IF done.on_hand <> counted THEN
        PERFORM cloudwatcher._refuse_repeat(operation_id);
      END IF;
    END IF;
    RETURN QUERY SELECT count_stock.operation_id, count_stock.difference, i.quantity_on_hand, i.quantity_reserved, i.quantity_available
                   FROM cloudwatcher.inventory i WHERE i.id = stock;
  END
  $body$;
