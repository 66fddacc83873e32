-- Parts, who sells them, and how many are where.

CREATE TABLE cloudwatcher.locations (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  name           varchar(255) NOT NULL,
  dept_id        uuid NOT NULL REFERENCES cloudwatcher.departments (id),
  location_type  varchar(50) NOT NULL DEFAULT 'depot',
  address        text,
  is_active      boolean NOT NULL DEFAULT true,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT locations_location_type_check CHECK (location_type = 'warehouse' OR location_type = 'store' OR location_type = 'garage' OR location_type = 'depot')
);
CREATE INDEX locations_name_idx ON cloudwatcher.locations (name);
CREATE INDEX locations_dept_id_idx ON cloudwatcher.locations (dept_id);
CREATE INDEX locations_is_active_idx ON cloudwatcher.locations (is_active);
COMMENT ON TABLE cloudwatcher.locations IS 'where stock is; the department decides who sees it';

CREATE TABLE cloudwatcher.parts (
  id               uuid DEFAULT pg_catalog.gen_random_uuid(),
  part_code        varchar(50) COLLATE "C" NOT NULL,
  name             varchar(255) NOT NULL,
  description      text,
  category         varchar(100),
  unit_of_measure  varchar(20) NOT NULL DEFAULT 'unit',
  is_active        boolean NOT NULL DEFAULT true,
  created_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at       timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- With the name, which is what lists look up: otherwise they read the whole catalogue for it.
  CONSTRAINT parts_pkey PRIMARY KEY (id) INCLUDE (name),
  CONSTRAINT parts_part_code_key UNIQUE (part_code),
  CONSTRAINT parts_part_code_check CHECK (part_code <> '')
);
CREATE INDEX parts_name_idx ON cloudwatcher.parts (name);
CREATE INDEX parts_category_idx ON cloudwatcher.parts (category);
CREATE INDEX parts_is_active_idx ON cloudwatcher.parts (is_active);
COMMENT ON TABLE cloudwatcher.parts IS 'the catalogue';

CREATE TABLE cloudwatcher.part_variants (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  part_id        uuid NOT NULL REFERENCES cloudwatcher.parts (id) ON DELETE CASCADE,
  variant_code   varchar(50) COLLATE "C" NOT NULL,
  variant_name   varchar(255),
  attributes     jsonb NOT NULL DEFAULT '{}',
  cost_per_unit  numeric(10,2),
  retail_price   numeric(10,2),
  is_available   boolean NOT NULL DEFAULT true,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT part_variants_part_id_variant_code_key UNIQUE (part_id, variant_code),
  CONSTRAINT part_variants_part_id_id_key UNIQUE (part_id, id),
  CONSTRAINT part_variants_cost_per_unit_check CHECK (cost_per_unit >= 0 AND cost_per_unit <> 'NaN'),
  CONSTRAINT part_variants_retail_price_check CHECK (retail_price >= 0 AND retail_price <> 'NaN')
);
CREATE INDEX part_variants_variant_code_idx ON cloudwatcher.part_variants (variant_code);
CREATE INDEX part_variants_is_available_idx ON cloudwatcher.part_variants (is_available);
COMMENT ON TABLE cloudwatcher.part_variants IS 'colours, sizes … of a part';

CREATE TABLE cloudwatcher.suppliers (
  id              uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  name            varchar(255) NOT NULL,
  contact_email   varchar(255),
  contact_phone   varchar(20),
  website         varchar(255),
  lead_time_days  int,
  is_preferred    boolean NOT NULL DEFAULT false,
  is_active       boolean NOT NULL DEFAULT true,
  created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT suppliers_lead_time_days_check CHECK (lead_time_days >= 0)
);
CREATE INDEX suppliers_name_idx ON cloudwatcher.suppliers (name);
CREATE INDEX suppliers_is_preferred_idx ON cloudwatcher.suppliers (is_preferred);
CREATE INDEX suppliers_is_active_idx ON cloudwatcher.suppliers (is_active);
COMMENT ON TABLE cloudwatcher.suppliers IS 'who sells parts';

CREATE TABLE cloudwatcher.part_suppliers (
  id                 uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  part_id            uuid NOT NULL REFERENCES cloudwatcher.parts (id) ON DELETE CASCADE,
  variant_id         uuid,
  supplier_id        uuid NOT NULL REFERENCES cloudwatcher.suppliers (id) ON DELETE CASCADE,
  sku                varchar(100),
  supplier_cost      numeric(10,2),
  lead_time_days     int,
  minimum_order_qty  int NOT NULL DEFAULT 1,
  is_preferred       boolean NOT NULL DEFAULT false,
  created_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT part_suppliers_part_id_variant_id_supplier_id_key UNIQUE NULLS NOT DISTINCT (part_id, variant_id, supplier_id),
  CONSTRAINT part_suppliers_part_id_variant_id_fkey FOREIGN KEY (part_id, variant_id)
    REFERENCES cloudwatcher.part_variants (part_id, id) ON DELETE CASCADE,
  CONSTRAINT part_suppliers_supplier_cost_check CHECK (supplier_cost >= 0 AND supplier_cost <> 'NaN'),
  CONSTRAINT part_suppliers_lead_time_days_check CHECK (lead_time_days >= 0),
  CONSTRAINT part_suppliers_minimum_order_qty_check CHECK (minimum_order_qty >= 1)
);
CREATE INDEX part_suppliers_part_id_variant_id_idx ON cloudwatcher.part_suppliers (part_id, variant_id, is_preferred DESC, supplier_cost);
CREATE INDEX part_suppliers_supplier_id_idx ON cloudwatcher.part_suppliers (supplier_id);
CREATE INDEX part_suppliers_sku_idx ON cloudwatcher.part_suppliers (sku);
CREATE INDEX part_suppliers_is_preferred_idx ON cloudwatcher.part_suppliers (is_preferred);
COMMENT ON TABLE cloudwatcher.part_suppliers IS 'what a supplier calls a part (or a variant of it) and takes for it';

CREATE TABLE cloudwatcher.inventory (
  id                  uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  part_id             uuid NOT NULL REFERENCES cloudwatcher.parts (id) ON DELETE CASCADE,
  variant_id          uuid,
  location_id         uuid NOT NULL REFERENCES cloudwatcher.locations (id) ON DELETE CASCADE,
  quantity_on_hand    int NOT NULL DEFAULT 0,
  quantity_reserved   int NOT NULL DEFAULT 0,
  quantity_available  int GENERATED ALWAYS AS (quantity_on_hand - quantity_reserved) STORED,
  reorder_point       int,
  reorder_quantity    int,
  last_counted_at     timestamptz,
  last_updated_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT inventory_part_id_variant_id_location_id_key UNIQUE NULLS NOT DISTINCT (part_id, variant_id, location_id),
  CONSTRAINT inventory_part_id_variant_id_fkey FOREIGN KEY (part_id, variant_id)
    REFERENCES cloudwatcher.part_variants (part_id, id) ON DELETE CASCADE,
  CONSTRAINT inventory_quantities_check CHECK (quantity_on_hand >= 0 AND quantity_reserved >= 0),
  CONSTRAINT inventory_reorder_check CHECK (reorder_point >= 0 AND reorder_quantity > 0)
);
CREATE INDEX inventory_location_id_quantity_available_idx ON cloudwatcher.inventory (location_id, quantity_available)
  WHERE quantity_available <= reorder_point;
CREATE INDEX inventory_location_id_idx ON cloudwatcher.inventory (location_id);
CREATE INDEX inventory_quantity_available_idx ON cloudwatcher.inventory (quantity_available);
CREATE INDEX inventory_reorder_point_idx ON cloudwatcher.inventory (reorder_point);
COMMENT ON TABLE cloudwatcher.inventory IS 'how many of a part (or of a variant) are at a location; changed by functions only';
COMMENT ON COLUMN cloudwatcher.inventory.quantity_reserved IS 'sum of the open reservations';
COMMENT ON COLUMN cloudwatcher.inventory.quantity_available IS 'on hand less reserved: below 0 where a count found less than was promised';
COMMENT ON COLUMN cloudwatcher.inventory.reorder_point IS 'available at or below this: time to order reorder_quantity';

CREATE TABLE cloudwatcher.stock_reservations (
  id            uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  inventory_id  uuid NOT NULL REFERENCES cloudwatcher.inventory (id) ON DELETE CASCADE,
  location_id   uuid NOT NULL REFERENCES cloudwatcher.locations (id) ON DELETE CASCADE,
  quantity      int NOT NULL,
  open          int NOT NULL,
  releases      uuid[] NOT NULL DEFAULT '{}',
  released      int[] NOT NULL DEFAULT '{}',
  reserved_by   uuid REFERENCES cloudwatcher.users (id),
  notes         text,
  created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT stock_reservations_quantity_check CHECK (quantity > 0 AND open BETWEEN 0 AND quantity)
);
CREATE INDEX stock_reservations_inventory_id_idx ON cloudwatcher.stock_reservations (inventory_id);
CREATE INDEX stock_reservations_location_id_idx ON cloudwatcher.stock_reservations (location_id);
CREATE INDEX stock_reservations_releases_idx ON cloudwatcher.stock_reservations USING gin (releases) WHERE releases <> '{}';
CREATE INDEX stock_reservations_reserved_by_idx ON cloudwatcher.stock_reservations (reserved_by);
COMMENT ON TABLE cloudwatcher.stock_reservations IS 'stock that is promised to somebody; open is what was neither released nor consumed yet';
COMMENT ON COLUMN cloudwatcher.stock_reservations.releases IS 'the callers'' own ids of releases of a part of it: done once each';
COMMENT ON COLUMN cloudwatcher.stock_reservations.released IS 'the quantity that each of them asked for; NULL is all that was open';

CREATE TABLE cloudwatcher.stock_movements (
  id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  inventory_id   uuid NOT NULL REFERENCES cloudwatcher.inventory (id) ON DELETE CASCADE,
  location_id    uuid NOT NULL REFERENCES cloudwatcher.locations (id) ON DELETE CASCADE,
  movement_type  varchar(20) NOT NULL,
  quantity       int NOT NULL,
  on_hand        int NOT NULL,
  operation_id   uuid NOT NULL,
  reservation_id uuid REFERENCES cloudwatcher.stock_reservations (id),
  moved_by       uuid REFERENCES cloudwatcher.users (id),
  notes          text,
  created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT stock_movements_movement_type_check CHECK (movement_type = 'receive' OR movement_type = 'consume' OR movement_type = 'transfer-out'
    OR movement_type = 'transfer-in' OR movement_type = 'count' OR movement_type = 'return')
);
-- An operation is one movement; a transfer has one more, at its other end.
CREATE UNIQUE INDEX stock_movements_operation_id_key ON cloudwatcher.stock_movements (operation_id, (movement_type = 'transfer-in'));
CREATE INDEX stock_movements_reservation_id_idx ON cloudwatcher.stock_movements (reservation_id) WHERE reservation_id IS NOT NULL;
CREATE INDEX stock_movements_inventory_id_idx ON cloudwatcher.stock_movements (inventory_id, created_at DESC);
CREATE INDEX stock_movements_location_id_idx ON cloudwatcher.stock_movements (location_id, created_at DESC);
CREATE INDEX stock_movements_moved_by_idx ON cloudwatcher.stock_movements (moved_by);
COMMENT ON TABLE cloudwatcher.stock_movements IS 'every change of what is on hand: its sum is quantity_on_hand';
COMMENT ON COLUMN cloudwatcher.stock_movements.quantity IS 'what came, or (negative) went';
COMMENT ON COLUMN cloudwatcher.stock_movements.on_hand IS 'what was on hand afterwards';
COMMENT ON COLUMN cloudwatcher.stock_movements.operation_id IS 'the caller''s own id of the operation: done once only';
COMMENT ON COLUMN cloudwatcher.stock_movements.reservation_id IS 'the reservation that it was taken from';

CREATE TABLE cloudwatcher.part_consumption (
  id                 uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  part_id            uuid NOT NULL REFERENCES cloudwatcher.parts (id),
  variant_id         uuid,
  location_id        uuid NOT NULL REFERENCES cloudwatcher.locations (id),
  quantity_consumed  int NOT NULL,
  consumption_date   date NOT NULL,
  consumed_by        uuid REFERENCES cloudwatcher.users (id),
  notes              text,
  created_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT part_consumption_part_id_variant_id_fkey FOREIGN KEY (part_id, variant_id)
    REFERENCES cloudwatcher.part_variants (part_id, id),
  CONSTRAINT part_consumption_quantity_consumed_check CHECK (quantity_consumed > 0)
);
CREATE INDEX part_consumption_part_id_idx ON cloudwatcher.part_consumption (part_id, location_id, consumption_date);
CREATE INDEX part_consumption_variant_id_idx ON cloudwatcher.part_consumption (part_id, variant_id);
CREATE INDEX part_consumption_location_id_idx ON cloudwatcher.part_consumption (location_id);
CREATE INDEX part_consumption_consumption_date_idx ON cloudwatcher.part_consumption (consumption_date);
CREATE INDEX part_consumption_consumed_by_idx ON cloudwatcher.part_consumption (consumed_by);
COMMENT ON TABLE cloudwatcher.part_consumption IS 'what was used up, where and when: the history that forecasts are made of';

-- Of the view of the seed's diagram, and of what is promised beyond what is there.
CREATE VIEW cloudwatcher.stock_levels WITH (security_invoker = true) AS
  SELECT i.part_id, p.part_code, p.name AS part_name, i.variant_id, v.variant_code, i.location_id, l.name AS location_name,
         i.quantity_on_hand AS quantity, i.quantity_reserved, i.quantity_available,
         greatest(0, i.quantity_reserved - i.quantity_on_hand) AS backorder,
         i.reorder_point, i.reorder_quantity,
         coalesce(i.quantity_available <= i.reorder_point, false) AS reorder_due,
         i.last_counted_at, i.last_updated_at AS last_updated
    FROM cloudwatcher.inventory i
    JOIN cloudwatcher.parts p ON p.id = i.part_id
    JOIN cloudwatcher.locations l ON l.id = i.location_id
    LEFT JOIN cloudwatcher.part_variants v ON v.id = i.variant_id;
COMMENT ON VIEW cloudwatcher.stock_levels IS 'stock by part, variant and location, with what is promised beyond it (backorder)';

CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.locations FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.parts FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.part_variants FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.suppliers FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.part_suppliers FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();

CREATE TRIGGER refuse_oversell BEFORE UPDATE ON cloudwatcher.inventory FOR EACH ROW
  WHEN (NEW.quantity_reserved > OLD.quantity_reserved AND NEW.quantity_reserved > NEW.quantity_on_hand)
  EXECUTE FUNCTION cloudwatcher._refuse_oversell();
CREATE TRIGGER refuse_loss BEFORE DELETE ON cloudwatcher.inventory FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_loss();
CREATE TRIGGER refuse_change BEFORE UPDATE ON cloudwatcher.stock_reservations FOR EACH ROW
  WHEN (NEW.open > OLD.open OR NEW.id IS DISTINCT FROM OLD.id OR NEW.inventory_id IS DISTINCT FROM OLD.inventory_id
        OR NEW.location_id IS DISTINCT FROM OLD.location_id OR NEW.quantity IS DISTINCT FROM OLD.quantity
        OR NEW.reserved_by IS DISTINCT FROM OLD.reserved_by OR NEW.created_at IS DISTINCT FROM OLD.created_at)
  EXECUTE FUNCTION cloudwatcher._refuse_change();
CREATE TRIGGER refuse_delete BEFORE DELETE ON cloudwatcher.stock_reservations FOR EACH ROW EXECUTE FUNCTION cloudwatcher._refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON cloudwatcher.stock_reservations EXECUTE FUNCTION cloudwatcher._refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON cloudwatcher.stock_movements FOR EACH ROW
  EXECUTE FUNCTION cloudwatcher._refuse_change();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON cloudwatcher.stock_movements EXECUTE FUNCTION cloudwatcher._refuse_change();

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE cloudwatcher.locations ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.part_variants ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.suppliers ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.part_suppliers ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.inventory ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.stock_reservations ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.stock_movements ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.part_consumption ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON cloudwatcher.locations, cloudwatcher.parts, cloudwatcher.part_variants, cloudwatcher.suppliers, cloudwatcher.part_suppliers,
    cloudwatcher.inventory, cloudwatcher.stock_reservations, cloudwatcher.stock_movements, cloudwatcher.part_consumption, cloudwatcher.stock_levels
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloudwatcher.locations, cloudwatcher.parts, cloudwatcher.part_variants, cloudwatcher.suppliers,
    cloudwatcher.part_suppliers
  TO authenticated, service_role;
-- Stock moves by functions only; where it is kept and when to order more is for whoever counts.
GRANT SELECT ON cloudwatcher.inventory, cloudwatcher.stock_reservations, cloudwatcher.stock_movements, cloudwatcher.part_consumption,
    cloudwatcher.stock_levels
  TO authenticated, service_role;
GRANT UPDATE (reorder_point, reorder_quantity) ON cloudwatcher.inventory TO authenticated, service_role;

CREATE POLICY locations_reader_select ON cloudwatcher.locations FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.read')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY locations_writer_insert ON cloudwatcher.locations FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('locations.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY locations_writer_update ON cloudwatcher.locations FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('locations.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY locations_writer_delete ON cloudwatcher.locations FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('locations.write')) AND cloudwatcher.sees_department(dept_id));
CREATE POLICY locations_service_all ON cloudwatcher.locations TO service_role USING (true) WITH CHECK (true);

CREATE POLICY parts_reader_select ON cloudwatcher.parts FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.read')));
CREATE POLICY parts_writer_insert ON cloudwatcher.parts FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY parts_writer_update ON cloudwatcher.parts FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY parts_writer_delete ON cloudwatcher.parts FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY parts_service_all ON cloudwatcher.parts TO service_role USING (true) WITH CHECK (true);

CREATE POLICY part_variants_reader_select ON cloudwatcher.part_variants FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.read')));
CREATE POLICY part_variants_writer_insert ON cloudwatcher.part_variants FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_variants_writer_update ON cloudwatcher.part_variants FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_variants_writer_delete ON cloudwatcher.part_variants FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_variants_service_all ON cloudwatcher.part_variants TO service_role USING (true) WITH CHECK (true);

CREATE POLICY suppliers_reader_select ON cloudwatcher.suppliers FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.read')));
CREATE POLICY suppliers_writer_insert ON cloudwatcher.suppliers FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY suppliers_writer_update ON cloudwatcher.suppliers FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY suppliers_writer_delete ON cloudwatcher.suppliers FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY suppliers_service_all ON cloudwatcher.suppliers TO service_role USING (true) WITH CHECK (true);

CREATE POLICY part_suppliers_reader_select ON cloudwatcher.part_suppliers FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.read')));
CREATE POLICY part_suppliers_writer_insert ON cloudwatcher.part_suppliers FOR INSERT TO authenticated
  WITH CHECK ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_suppliers_writer_update ON cloudwatcher.part_suppliers FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_suppliers_writer_delete ON cloudwatcher.part_suppliers FOR DELETE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('parts.write')));
CREATE POLICY part_suppliers_service_all ON cloudwatcher.part_suppliers TO service_role USING (true) WITH CHECK (true);

CREATE POLICY inventory_reader_select ON cloudwatcher.inventory FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.read')) AND cloudwatcher.sees_location(location_id));
CREATE POLICY inventory_service_all ON cloudwatcher.inventory TO service_role USING (true) WITH CHECK (true);

CREATE POLICY stock_reservations_reader_select ON cloudwatcher.stock_reservations FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.read')) AND cloudwatcher.sees_location(location_id));
CREATE POLICY stock_reservations_service_all ON cloudwatcher.stock_reservations TO service_role USING (true) WITH CHECK (true);

CREATE POLICY stock_movements_reader_select ON cloudwatcher.stock_movements FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.read')) AND cloudwatcher.sees_location(location_id));
CREATE POLICY stock_movements_service_all ON cloudwatcher.stock_movements TO service_role USING (true) WITH CHECK (true);

CREATE POLICY part_consumption_reader_select ON cloudwatcher.part_consumption FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.read')) AND cloudwatcher.sees_location(location_id));
CREATE POLICY part_consumption_service_all ON cloudwatcher.part_consumption TO service_role USING (true) WITH CHECK (true);

CREATE POLICY inventory_counter_update ON cloudwatcher.inventory FOR UPDATE TO authenticated
  USING ((SELECT cloudwatcher.has_permission('inventory.count')) AND cloudwatcher.sees_location(location_id));
