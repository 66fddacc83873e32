//! The ways in which a compressed partition can be read, and what they cost.
//!
//! All of it; by looking up keys that are fixed by constants, or, in the inner side of a join, by the row of the
//! other side; and all of it shared among parallel workers. Where the keys are fixed to one series, its rows come
//! in order of time, in either direction.

#![expect(unsafe_code, reason = "called by the server's planner")]

use super::super::layout::Layout;
use super::super::select::{Order, Selection};
use super::plan::{Size, conditions};
use pgrx::PgList;
use pgrx::prelude::*;

/// Opening a segment, and decoding one of its columns, in units of the server's cost of a row.
const SEGMENT: f64 = 20.0;
const COLUMN: f64 = 20.0;

/// A row that is passed over on its decoded values, likewise.
const PASSED_OVER: f64 = 0.1;

/// A look-up in the index, likewise.
const LOOK_UP: f64 = 50.0;

/// How much larger rows are where they lie in a heap: by that size the server decides about workers.
const HEAP_ROW: f64 = 100.0;

/// At most so many kinds of outer sides are considered.
const OUTER_SIDES: usize = 8;

/// What a path says to the plan that is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub look_up: bool,
    pub order: Order,
}

impl Way {
    fn list(self) -> *mut pg_sys::List {
        // SAFETY: a list of integers in the planner's memory.
        unsafe {
            let list = pg_sys::lappend_int(std::ptr::null_mut(), i32::from(self.look_up));
            pg_sys::lappend_int(list, self.order as i32)
        }
    }

    /// # Safety
    /// The list was made by [`Self::list`].
    pub unsafe fn of(list: *mut pg_sys::List) -> Self {
        // SAFETY: as the caller says.
        let numbers: Vec<_> = unsafe { PgList::<()>::from_pg(list) }.iter_int().collect();
        Self {
            look_up: numbers.first() == Some(&1),
            order: match numbers.get(1) {
                Some(1) => Order::Forward,
                Some(2) => Order::Backward,
                _ => Order::None,
            },
        }
    }
}

/// What is being planned.
struct Planning {
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    layout: std::rc::Rc<Layout>,
    size: Size,
    columns: f64,
}

/// # Safety
/// Called by the planner, after the relation's size.
#[pg_guard]
pub unsafe extern "C-unwind" fn paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    table: pg_sys::Oid,
) {
    // SAFETY: the planner's own structures.
    unsafe {
        let planning = Planning {
            root,
            rel,
            layout: Layout::need(table),
            size: *(*rel).fdw_private.cast::<Size>(),
            columns: f64::from((*rel).max_attr)
                .min(PgList::<()>::from_pg((*(*rel).reltarget).exprs).len() as f64),
        };
        let base = conditions((*rel).baserestrictinfo);
        let all = Selection::of(&planning.layout, (*rel).relid, &base, false);
        planning.add(
            &all,
            Way {
                look_up: false,
                order: Order::None,
            },
            std::ptr::null_mut(),
            0,
        );
        let workers = planning.workers();
        if workers > 0 {
            planning.add(
                &all,
                Way {
                    look_up: false,
                    order: Order::None,
                },
                std::ptr::null_mut(),
                workers,
            );
        }
        let looked_up = Selection::of(&planning.layout, (*rel).relid, &base, true);
        planning.add_look_ups(&looked_up, std::ptr::null_mut());
        planning.add_parameterized(&base, looked_up.fixed_keys);
    }
}

impl Planning {
    /// Looking up keys, and all in order of time where they allow it.
    ///
    /// # Safety
    /// The planner's own structures.
    unsafe fn add_look_ups(&self, selection: &Selection, outer: pg_sys::Relids) {
        // SAFETY: as the caller says.
        unsafe {
            let in_order = selection.is_one_series(&self.layout);
            if selection.fixed_keys > 0 {
                self.add(
                    selection,
                    Way {
                        look_up: true,
                        order: Order::None,
                    },
                    outer,
                    0,
                );
            }
            if in_order {
                for order in [Order::Forward, Order::Backward] {
                    if !self.sorted(order).is_null() {
                        self.add(
                            selection,
                            Way {
                                look_up: true,
                                order,
                            },
                            outer,
                            0,
                        );
                    }
                }
            }
        }
    }

    /// For the inner side of joins that fix more keys than constants do.
    ///
    /// # Safety
    /// As above.
    unsafe fn add_parameterized(&self, base: &[*mut pg_sys::RestrictInfo], fixed: usize) {
        let (root, rel) = (self.root, self.rel);
        // SAFETY: as the caller says.
        unsafe {
            let mut candidates: Vec<*mut pg_sys::RestrictInfo> = conditions((*rel).joininfo)
                .into_iter()
                .filter(|&info| pg_sys::join_clause_is_movable_to(info, rel))
                .collect();
            if (*rel).has_eclass_joins {
                for &place in &self.layout.keys {
                    let mut number = place as i16 + 1;
                    candidates.extend(conditions(pg_sys::generate_implied_equalities_for_column(
                        root,
                        rel,
                        Some(is_column),
                        (&raw mut number).cast(),
                        (*rel).lateral_referencers,
                    )));
                }
            }
            let mut sides: Vec<pg_sys::Relids> = Vec::new();
            for info in candidates {
                let together = pg_sys::bms_union((*info).clause_relids, (*rel).lateral_relids);
                let outer = pg_sys::bms_del_member(together, (*rel).relid as i32);
                if is_empty(outer) {
                    continue;
                }
                if sides.len() < OUTER_SIDES
                    && !sides.iter().any(|&side| pg_sys::bms_equal(side, outer))
                {
                    sides.push(outer);
                }
            }
            for outer in sides {
                let parameters = pg_sys::get_baserel_parampathinfo(root, rel, outer);
                let mut clauses = base.to_vec();
                clauses.extend(conditions((*parameters).ppi_clauses));
                let selection = Selection::of(&self.layout, (*rel).relid, &clauses, true);
                if selection.fixed_keys > fixed {
                    self.add_look_ups(&selection, outer);
                }
            }
        }
    }

    /// How many workers such an amount of rows is worth.
    ///
    /// # Safety
    /// As above.
    unsafe fn workers(&self) -> i32 {
        // SAFETY: as the caller says.
        unsafe {
            if !(*self.rel).consider_parallel || !is_empty((*self.rel).lateral_relids) {
                return 0;
            }
            let pages = (*self.rel).tuples * HEAP_ROW / f64::from(pg_sys::BLCKSZ);
            pg_sys::compute_parallel_worker(
                self.rel,
                pages,
                -1.0,
                pg_sys::max_parallel_workers_per_gather,
            )
        }
    }

    /// The order of time as the planner knows it; null where nobody asks for it.
    ///
    /// # Safety
    /// As above.
    unsafe fn sorted(&self, order: Order) -> *mut pg_sys::List {
        // SAFETY: as the caller says.
        unsafe {
            let column = &self.layout.columns[self.layout.order];
            let var = pg_sys::makeVar(
                (*self.rel).relid as i32,
                self.layout.order as i16 + 1,
                column.type_oid,
                column.typmod,
                column.collation,
                0,
            );
            let wanted = match order {
                Order::None => return std::ptr::null_mut(),
                Order::Forward => pg_sys::TYPECACHE_LT_OPR,
                Order::Backward => pg_sys::TYPECACHE_GT_OPR,
            };
            let known = &*pg_sys::lookup_type_cache(column.type_oid, wanted as i32);
            let operator = match order {
                Order::Backward => known.gt_opr,
                _ => known.lt_opr,
            };
            pg_sys::build_expression_pathkey(
                self.root,
                var.cast(),
                #[cfg(feature = "pg15")]
                std::ptr::null_mut(),
                operator,
                (*self.rel).relids,
                false,
            )
        }
    }

    /// Adds a path.
    ///
    /// # Safety
    /// As above.
    unsafe fn add(&self, selection: &Selection, way: Way, outer: pg_sys::Relids, workers: i32) {
        let (root, rel) = (self.root, self.rel);
        // SAFETY: as the caller says.
        unsafe {
            let mut narrowing = PgList::<pg_sys::RestrictInfo>::new();
            for info in &selection.narrowing {
                narrowing.push(*info);
            }
            let share = pg_sys::clauselist_selectivity(
                root,
                narrowing.into_pg(),
                if outer.is_null() {
                    0
                } else {
                    (*rel).relid as i32
                },
                pg_sys::JoinType::JOIN_INNER,
                std::ptr::null_mut(),
            );
            let required = if outer.is_null() {
                (*rel).lateral_relids
            } else {
                outer
            };
            let parameters = pg_sys::get_baserel_parampathinfo(root, rel, required);
            let rows = if parameters.is_null() {
                (*rel).rows
            } else {
                (*parameters).ppi_rows
            };
            let mut quals = PgList::<pg_sys::Expr>::new();
            for clause in &selection.by_row {
                quals.push(*clause);
            }
            let mut each_row = pg_sys::QualCost {
                startup: 0.0,
                per_tuple: 0.0,
            };
            pg_sys::cost_qual_eval(&raw mut each_row, quals.into_pg(), root);

            let row = pg_sys::cpu_tuple_cost;
            let decoded = ((*rel).tuples * share).max(1.0);
            let mut touched = (self.size.segments * share).max(1.0);
            let mut startup = each_row.startup;
            let mut run = 0.0;
            if way.look_up {
                // The range of time of a look-up begins and ends within a segment.
                touched += 1.0;
                let pages = (self.size.pages * share).ceil().max(1.0);
                startup += LOOK_UP * row;
                run += pages * pg_sys::random_page_cost;
            } else {
                run += self.size.pages * pg_sys::seq_page_cost + self.size.segments * row;
            }
            run += touched * (SEGMENT + COLUMN * self.columns) * row;
            run += decoded * (PASSED_OVER * row) + rows.min(decoded) * row;
            run += decoded * each_row.per_tuple;
            let divisor = divisor(workers);
            let pathkeys = self.sorted(way.order);
            let path = pg_sys::create_foreignscan_path(
                root,
                rel,
                std::ptr::null_mut(),
                (rows / divisor).max(1.0).round(),
                #[cfg(feature = "pg18")]
                0,
                startup,
                startup + run / divisor,
                pathkeys,
                required,
                std::ptr::null_mut(),
                #[cfg(any(feature = "pg17", feature = "pg18"))]
                std::ptr::null_mut(),
                way.list(),
            );
            if workers > 0 {
                (*path).path.parallel_aware = true;
                (*path).path.parallel_workers = workers;
                pg_sys::add_partial_path(rel, path.cast());
            } else {
                pg_sys::add_path(rel, path.cast());
            }
        }
    }
}

/// Among how many processes the work is divided, as the server reckons: the leader helps, if it has time to.
fn divisor(workers: i32) -> f64 {
    if workers == 0 {
        return 1.0;
    }
    let mut divisor = f64::from(workers);
    // SAFETY: a setting of the server's.
    if unsafe { pg_sys::parallel_leader_participation } {
        divisor += (1.0 - 0.3 * f64::from(workers)).max(0.0);
    }
    divisor
}

/// Is a member of an equivalence class this column?
///
/// # Safety
/// Called by the planner with an attribute number.
#[pg_guard]
unsafe extern "C-unwind" fn is_column(
    _root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _class: *mut pg_sys::EquivalenceClass,
    member: *mut pg_sys::EquivalenceMember,
    number: *mut std::ffi::c_void,
) -> bool {
    // SAFETY: as the caller says; each cast follows the node's own tag.
    unsafe {
        let mut expression: *mut pg_sys::Node = (*member).em_expr.cast();
        while (*expression).type_ == pg_sys::NodeTag::T_RelabelType {
            expression = (*expression.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        if (*expression).type_ != pg_sys::NodeTag::T_Var {
            return false;
        }
        let var = &*expression.cast::<pg_sys::Var>();
        var.varno as pg_sys::Index == (*rel).relid && var.varattno == *number.cast::<i16>()
    }
}

/// # Safety
/// It is a set of the planner's.
unsafe fn is_empty(set: pg_sys::Relids) -> bool {
    // SAFETY: as the caller says.
    unsafe { pg_sys::bms_membership(set) == pg_sys::BMS_Membership::BMS_EMPTY_SET }
}
