-- Orders, who has to approve them, and what became of them.

CREATE TABLE cloudwatcher.orders (
  id                  uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  request_id          uuid,
  order_type          varchar(50) NOT NULL DEFAULT 'purchase',
  status              varchar(50) COLLATE "C" NOT NULL DEFAULT 'draft',
  dept_id             uuid NOT NULL REFERENCES cloudwatcher.departments (id),
  location_id         uuid REFERENCES cloudwatcher.locations (id),
  source_location_id  uuid REFERENCES cloudwatcher.locations (id),
  total_amount        numeric(16,2) NOT NULL DEFAULT 0,
  approval_levels     int,
  created_by          uuid NOT NULL REFERENCES cloudwatcher.users (id),
  approved_by         uuid REFERENCES cloudwatcher.users (id),
  created_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
  submitted_at        timestamptz,
  approved_at         timestamptz,
  ordered_at          timestamptz,
  closed_at           timestamptz,
  reason              text,
  updated_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT orders_order_type_check CHECK (order_type = 'purchase' OR order_type = 'internal_transfer' OR order_type = 'return'),
  CONSTRAINT orders_status_check CHECK (status = 'draft' OR status = 'pending-approval' OR status = 'approved' OR status = 'ordered'
    OR status = 'received' OR status = 'cancelled' OR status = 'rejected'),
  CONSTRAINT orders_total_amount_check CHECK (total_amount >= 0),
  CONSTRAINT orders_approval_levels_check CHECK (approval_levels BETWEEN 0 AND 3),
  CONSTRAINT orders_approved_by_check CHECK (approved_by <> created_by),
  CONSTRAINT orders_source_location_id_check CHECK (source_location_id IS NULL OR order_type = 'internal_transfer' AND source_location_id <> location_id)
);
-- A request has one order at a time; one that came to nothing is out of the way.
CREATE UNIQUE INDEX orders_request_id_key ON cloudwatcher.orders (request_id) WHERE status <> 'cancelled' AND status <> 'rejected';
CREATE INDEX orders_request_id_idx ON cloudwatcher.orders (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX orders_status_idx ON cloudwatcher.orders (status);
CREATE INDEX orders_created_by_idx ON cloudwatcher.orders (created_by);
CREATE INDEX orders_approved_by_idx ON cloudwatcher.orders (approved_by) WHERE approved_by IS NOT NULL;
CREATE INDEX orders_dept_id_idx ON cloudwatcher.orders (dept_id, created_at DESC);
CREATE INDEX orders_location_id_idx ON cloudwatcher.orders (location_id);
CREATE INDEX orders_source_location_id_idx ON cloudwatcher.orders (source_location_id) WHERE source_location_id IS NOT NULL;
COMMENT ON TABLE cloudwatcher.orders IS 'draft, pending-approval, approved, ordered, received; or cancelled, or rejected; changed by functions only';
COMMENT ON COLUMN cloudwatcher.orders.dept_id IS 'whose order it is: that of its location';
COMMENT ON COLUMN cloudwatcher.orders.location_id IS 'where the goods go (of a return: where they come from)';
COMMENT ON COLUMN cloudwatcher.orders.total_amount IS 'sum of the items; does not change once the order is submitted';
COMMENT ON COLUMN cloudwatcher.orders.approval_levels IS 'how many approvals it needs, which is found out when it is submitted';
COMMENT ON COLUMN cloudwatcher.orders.approved_by IS 'who approved it last; NULL where nobody had to';
COMMENT ON COLUMN cloudwatcher.orders.reason IS 'why it was cancelled or rejected';
COMMENT ON COLUMN cloudwatcher.orders.closed_at IS 'when it was received, cancelled or rejected';

CREATE TRIGGER check_requests AFTER INSERT ON cloudwatcher.orders
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._check_requests();

CREATE TABLE cloudwatcher.order_items (
  id                      uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  order_id                uuid NOT NULL REFERENCES cloudwatcher.orders (id) ON DELETE CASCADE,
  part_id                 uuid NOT NULL REFERENCES cloudwatcher.parts (id),
  variant_id              uuid,
  supplier_id             uuid NOT NULL REFERENCES cloudwatcher.suppliers (id),
  quantity_ordered        int NOT NULL,
  quantity_received       int NOT NULL DEFAULT 0,
  unit_price              numeric(10,2) NOT NULL,
  total_price             numeric(16,2) GENERATED ALWAYS AS (quantity_ordered * unit_price) STORED,
  expected_delivery_date  date,
  created_at              timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT order_items_part_id_variant_id_fkey FOREIGN KEY (part_id, variant_id) REFERENCES cloudwatcher.part_variants (part_id, id),
  CONSTRAINT order_items_quantity_ordered_check CHECK (quantity_ordered > 0),
  CONSTRAINT order_items_quantity_received_check CHECK (quantity_received BETWEEN 0 AND quantity_ordered),
  CONSTRAINT order_items_unit_price_check CHECK (unit_price >= 0)
);
CREATE INDEX order_items_order_id_idx ON cloudwatcher.order_items (order_id);
CREATE INDEX order_items_part_id_idx ON cloudwatcher.order_items (part_id, variant_id);
CREATE INDEX order_items_supplier_id_idx ON cloudwatcher.order_items (supplier_id);
COMMENT ON TABLE cloudwatcher.order_items IS 'what is ordered';

CREATE TABLE cloudwatcher.order_approvals (
  id              uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  order_id        uuid NOT NULL REFERENCES cloudwatcher.orders (id) ON DELETE CASCADE,
  approver_id     uuid NOT NULL REFERENCES cloudwatcher.users (id),
  in_place_of     uuid REFERENCES cloudwatcher.users (id),
  approval_level  int NOT NULL,
  status          varchar(50) COLLATE "C" NOT NULL DEFAULT 'waiting',
  notes           text,
  pending_since   timestamptz,
  asked_at        timestamptz,
  decision_at     timestamptz,
  decided_by      uuid REFERENCES cloudwatcher.users (id),
  created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT order_approvals_in_place_of_check CHECK (in_place_of <> approver_id),
  CONSTRAINT order_approvals_approval_level_check CHECK (approval_level BETWEEN 1 AND 3),
  CONSTRAINT order_approvals_status_check CHECK (status = 'waiting' OR status = 'pending' OR status = 'approved' OR status = 'rejected'
    OR status = 'delegated' OR status = 'escalated' OR status = 'timed-out' OR status = 'cancelled'),
  CONSTRAINT order_approvals_decided_by_check CHECK ((decided_by IS NOT NULL) = (status = 'approved' OR status = 'rejected'))
);
CREATE INDEX order_approvals_order_id_idx ON cloudwatcher.order_approvals (order_id, approval_level);
CREATE INDEX order_approvals_approver_id_idx ON cloudwatcher.order_approvals (approver_id, status);
CREATE INDEX order_approvals_status_idx ON cloudwatcher.order_approvals (status, pending_since);
CREATE INDEX order_approvals_in_place_of_idx ON cloudwatcher.order_approvals (in_place_of) WHERE in_place_of IS NOT NULL;
CREATE INDEX order_approvals_decided_by_idx ON cloudwatcher.order_approvals (decided_by) WHERE decided_by IS NOT NULL;
-- One at a time is asked, of one order.
CREATE UNIQUE INDEX order_approvals_pending_key ON cloudwatcher.order_approvals (order_id) WHERE status = 'pending';
-- One at a time decides a level.
CREATE UNIQUE INDEX order_approvals_level_key ON cloudwatcher.order_approvals (order_id, approval_level)
  WHERE status = 'waiting' OR status = 'pending' OR status = 'approved';
COMMENT ON TABLE cloudwatcher.order_approvals IS 'the chain of an order: levels 1 to 3 are asked one after the other; delegated and escalated ones stay as they were';
COMMENT ON COLUMN cloudwatcher.order_approvals.in_place_of IS 'whose approval it is, where somebody else was asked for it';
COMMENT ON COLUMN cloudwatcher.order_approvals.pending_since IS 'when the level was first asked for, which delegation and escalation do not change';
COMMENT ON COLUMN cloudwatcher.order_approvals.asked_at IS 'when this approver was asked';

CREATE TABLE cloudwatcher.approval_delegations (
  id           uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  approver_id  uuid NOT NULL REFERENCES cloudwatcher.users (id) ON DELETE CASCADE,
  delegate_id  uuid NOT NULL REFERENCES cloudwatcher.users (id) ON DELETE CASCADE,
  starts_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  ends_at      timestamptz NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
  CONSTRAINT approval_delegations_delegate_id_check CHECK (delegate_id <> approver_id),
  CONSTRAINT approval_delegations_times_check CHECK (ends_at > starts_at)
);
CREATE INDEX approval_delegations_approver_id_idx ON cloudwatcher.approval_delegations (approver_id, ends_at);
CREATE INDEX approval_delegations_delegate_id_idx ON cloudwatcher.approval_delegations (delegate_id);
COMMENT ON TABLE cloudwatcher.approval_delegations IS 'who approves in whose place, for a time';

CREATE TABLE cloudwatcher.order_history (
  id                 uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
  order_id           uuid NOT NULL REFERENCES cloudwatcher.orders (id) ON DELETE CASCADE,
  event_type         varchar(100) NOT NULL,
  event_description  text,
  user_id            uuid REFERENCES cloudwatcher.users (id),
  metadata           jsonb NOT NULL DEFAULT '{}',
  created_at         timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX order_history_order_id_idx ON cloudwatcher.order_history (order_id, created_at);
CREATE INDEX order_history_event_type_idx ON cloudwatcher.order_history (event_type);
CREATE INDEX order_history_created_at_idx ON cloudwatcher.order_history (created_at);
CREATE INDEX order_history_user_id_idx ON cloudwatcher.order_history (user_id);
COMMENT ON TABLE cloudwatcher.order_history IS 'every transition of every order; written by triggers, changed by nobody';
COMMENT ON COLUMN cloudwatcher.order_history.user_id IS 'who was logged in; NULL: a server or a job, whose role is in metadata';

CREATE TRIGGER set_updated_at BEFORE UPDATE ON cloudwatcher.orders FOR EACH ROW EXECUTE FUNCTION gemba._set_updated_at();
CREATE TRIGGER check_order BEFORE INSERT OR UPDATE OR DELETE ON cloudwatcher.orders
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._check_order();
CREATE TRIGGER note_order AFTER INSERT OR UPDATE ON cloudwatcher.orders
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._note_order();
CREATE TRIGGER check_item BEFORE INSERT OR UPDATE OR DELETE ON cloudwatcher.order_items
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._check_item();
CREATE TRIGGER note_item AFTER INSERT OR UPDATE OR DELETE ON cloudwatcher.order_items
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._note_item();
CREATE TRIGGER check_approval BEFORE INSERT OR UPDATE OR DELETE ON cloudwatcher.order_approvals
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._check_approval();
CREATE TRIGGER keep_history BEFORE UPDATE OR DELETE ON cloudwatcher.order_history
  FOR EACH ROW EXECUTE FUNCTION cloudwatcher._keep_history();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloudwatcher.orders FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._refuse_truncate();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloudwatcher.order_items FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._refuse_truncate();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloudwatcher.order_approvals FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._refuse_truncate();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON cloudwatcher.order_history FOR EACH STATEMENT EXECUTE FUNCTION cloudwatcher._refuse_truncate();

-- Rights ------------------------------------------------------------------------------------------

ALTER TABLE cloudwatcher.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.order_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.order_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.approval_delegations ENABLE ROW LEVEL SECURITY;
ALTER TABLE cloudwatcher.order_history ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON cloudwatcher.orders, cloudwatcher.order_items, cloudwatcher.order_approvals, cloudwatcher.approval_delegations,
    cloudwatcher.order_history
  FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON cloudwatcher.orders, cloudwatcher.order_items, cloudwatcher.order_approvals, cloudwatcher.approval_delegations,
    cloudwatcher.order_history
  TO authenticated, service_role;

CREATE POLICY orders_reader_select ON cloudwatcher.orders FOR SELECT TO authenticated
  USING ((SELECT cloudwatcher.has_permission('orders.read'))
         AND (cloudwatcher.sees_department(dept_id) OR cloudwatcher.is_asked(id)));
CREATE POLICY orders_service_all ON cloudwatcher.orders TO service_role USING (true) WITH CHECK (true);
-- What belongs to an order is seen by whoever sees the order.
CREATE POLICY order_items_reader_select ON cloudwatcher.order_items FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.orders o WHERE o.id = order_items.order_id));
CREATE POLICY order_items_service_all ON cloudwatcher.order_items TO service_role USING (true) WITH CHECK (true);
CREATE POLICY order_approvals_reader_select ON cloudwatcher.order_approvals FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.orders o WHERE o.id = order_approvals.order_id));
CREATE POLICY order_approvals_service_all ON cloudwatcher.order_approvals TO service_role USING (true) WITH CHECK (true);
CREATE POLICY order_history_reader_select ON cloudwatcher.order_history FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM cloudwatcher.orders o WHERE o.id = order_history.order_id));
CREATE POLICY order_history_service_all ON cloudwatcher.order_history TO service_role USING (true) WITH CHECK (true);
CREATE POLICY approval_delegations_reader_select ON cloudwatcher.approval_delegations FOR SELECT TO authenticated
  USING (approver_id = (SELECT auth.uid()) OR delegate_id = (SELECT auth.uid()) OR (SELECT cloudwatcher.has_permission('orders.approve_any')));
CREATE POLICY approval_delegations_service_all ON cloudwatcher.approval_delegations TO service_role USING (true) WITH CHECK (true);
