-- Stock moves by these functions only. Each of them locks the row of the stock first (two of them in the order of
-- their ids), and then what hangs on it: reservations, movements. So nobody waits for anybody in a circle, and
-- what is promised or taken is what was there.

-- Guards ------------------------------------------------------------------------------------------

CREATE FUNCTION cloudwatcher._no_location(location uuid) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  AS $body$
  BEGIN
    IF location IS NULL THEN
      RAISE EXCEPTION 'a location is needed' USING ERRCODE = '22004', DETAIL = 'location NULL',
        HINT = 'give an id of cloudwatcher.locations';
    END IF;
    RAISE EXCEPTION 'location not found' USING ERRCODE = 'P0002', DETAIL = format('location %s', location),
      HINT = 'give the id of a location that you see in cloudwatcher.locations';
  END
  $body$;

-- Returns who moves stock at a location, NULL for a server that acts for nobody. A location that one does not see
-- is one that there is not.
CREATE FUNCTION cloudwatcher._stock_keeper(location uuid, permission text, closed_too boolean) RETURNS uuid
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  AS $body$
  DECLARE
    who uuid := gemba._user();
    department uuid;
    active boolean;
  BEGIN
    SELECT l.dept_id, l.is_active INTO department, active FROM cloudwatcher.locations l WHERE l.id = location;
    IF department IS NULL THEN
      PERFORM cloudwatcher._no_location(location);
    END IF;
    IF cloudwatcher._is_service() THEN
      SELECT u.id INTO who FROM cloudwatcher.users u WHERE u.id = who;
    ELSIF NOT cloudwatcher._allows(who, permission, department) THEN
      IF NOT cloudwatcher._allows(who, 'inventory.read', department) THEN
        PERFORM cloudwatcher._no_location(location);
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
    IF part IS NULL THEN
      RAISE EXCEPTION 'a part is needed' USING ERRCODE = '22004', DETAIL = 'part NULL', HINT = 'give an id of cloudwatcher.parts';
    END IF;
    IF NOT EXISTS (SELECT FROM cloudwatcher.parts p WHERE p.id = part) THEN
      RAISE EXCEPTION 'part not found' USING ERRCODE = 'P0002', DETAIL = format('part %s', part),
        HINT = 'give an id of cloudwatcher.parts';
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
    -- What a stock leaves behind goes with it, and with it only.
    IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME IN ('stock_movements', 'stock_reservations') THEN
      IF NOT EXISTS (SELECT FROM cloudwatcher.inventory i WHERE i.id = OLD.inventory_id) THEN
        RETURN OLD;
      END IF;
    END IF;
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
    RAISE EXCEPTION 'there is stock of it' USING ERRCODE = '55000',
      DETAIL = format('part %s, location %s: on hand %s, reserved %s', OLD.part_id, OLD.location_id, OLD.quantity_on_hand, OLD.quantity_reserved),
      HINT = 'consume it, transfer it away or count 0 first; or set is_active of the part or the location to false',
      SCHEMA = 'cloudwatcher', TABLE = 'inventory';
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

-- Changes what is on hand of a stock, once for each operation. The caller has locked the row.
CREATE FUNCTION cloudwatcher._move(
    stock uuid, movement text, quantity int, operation uuid, who uuid, notes text, from_reserved int DEFAULT 0,
    movement_id uuid DEFAULT NULL)
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
           (id, inventory_id, location_id, movement_type, quantity, on_hand, operation_id, moved_by, notes, created_at)
    VALUES (coalesce(movement_id, gen_random_uuid()), stock, s.location_id, movement, quantity, left_over, operation, who, _move.notes,
            clock_timestamp());
  END
  $body$;

-- What receiving does, for whoever has asked for permission already. A negative quantity takes from what is
-- available: goods that are returned, or leave for another location. Once for each operation, stock and kind.
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
    SELECT m.quantity INTO done FROM cloudwatcher.stock_movements m
     WHERE m.operation_id = operation AND m.inventory_id = stock AND m.movement_type = movement;
    IF done IS NULL THEN
      PERFORM cloudwatcher._move(stock, movement, quantity, operation, who, notes);
    ELSIF done <> quantity THEN
      PERFORM cloudwatcher._refuse_repeat(operation);
    END IF;
  END
  $body$;
