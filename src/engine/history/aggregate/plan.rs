//! Which partial aggregates are computed on segments, and what they cost.

#![expect(unsafe_code, reason = "called by the server's planner")]

use super::functions::Function;
use super::spec::{Aggregate, Group, Spec};
use super::times::{self, Buckets};
use crate::engine::history::layout::Layout;
use crate::engine::history::select::{Order, Selection, columns_of};
use pgrx::PgList;
use pgrx::prelude::*;

/// What opening a segment and reading its head costs, in what the server reckons for a row (`cpu_tuple_cost`): about
/// two microseconds, where a row takes a twentieth of one.
const SEGMENT: f64 = 40.0;

/// Decoding a value and adding it.
const VALUE: f64 = 0.02;

/// At most this share of reading the rows.
const BELOW_ROWS: f64 = 0.9;

/// So many rows a segment has, where nothing else is known.
const ROWS: f64 = 1_440.0;

/// Offers a path for the partial aggregates of a compressed partition, if all of them can be computed on segments.
///
/// # Safety
/// Called by the planner.
#[pg_guard]
pub unsafe extern "C-unwind" fn upper_paths(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    _extra: *mut std::ffi::c_void,
) {
    // SAFETY: as the caller says.
    unsafe {
        if stage != pg_sys::UpperRelationKind::UPPERREL_PARTIAL_GROUP_AGG
            || (*input).reloptkind != pg_sys::RelOptKind::RELOPT_OTHER_MEMBER_REL
            || (*input).relid == 0
        {
            return;
        }
        let entry = *(*root).simple_rte_array.add((*input).relid as usize);
        let layout = Layout::need((*entry).relid);
        let Some(planned) = Planned::of(&layout, input, output) else {
            return;
        };
        let cost = planned.cost(input);
        let rows = planned.groups(input);
        let path = pg_sys::create_foreign_upper_path(
            root,
            output,
            (*output).reltarget,
            rows,
            #[cfg(feature = "pg18")]
            0,
            0.0,
            cost,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            std::ptr::null_mut(),
            planned.list(),
        );
        pg_sys::add_path(output, path.cast());
    }
}

/// The plan of a path that was chosen.
///
/// # Safety
/// Called by the planner, with a path of [`upper_paths`].
pub unsafe fn plan(
    path: *mut pg_sys::ForeignPath,
    tlist: *mut pg_sys::List,
    outer: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: as the caller says.
    unsafe {
        let parts = PgList::<pg_sys::List>::from_pg((*path).fdw_private);
        let part = |number| parts.get_ptr(number).unwrap_or(std::ptr::null_mut());
        let mut private = PgList::<pg_sys::List>::new();
        private.push(part(0));
        private.push(part(1));
        pg_sys::make_foreignscan(
            tlist,
            std::ptr::null_mut(),
            0,
            part(2),
            private.into_pg(),
            part(3),
            std::ptr::null_mut(),
            outer,
        )
    }
}

/// What can be computed, and how.
struct Planned {
    spec: Spec,
    selection: Selection,
    /// Of the node's own: asked once, asked for each row, and the groups'.
    expressions: Vec<*mut pg_sys::Expr>,
    /// The node's row.
    row: Vec<*mut pg_sys::Expr>,
    table: pg_sys::Index,
}

impl Planned {
    /// # Safety
    /// The planner's own structures.
    unsafe fn of(
        layout: &Layout,
        input: *mut pg_sys::RelOptInfo,
        output: *mut pg_sys::RelOptInfo,
    ) -> Option<Self> {
        // SAFETY: as the caller says; each cast follows the node's own tag.
        unsafe {
            let table = (*input).relid;
            let clauses: Vec<_> =
                PgList::<pg_sys::RestrictInfo>::from_pg((*input).baserestrictinfo)
                    .iter_ptr()
                    .collect();
            let selection = Selection::of(layout, table, &clauses, true);
            let mut planned = Self {
                spec: Spec {
                    table: layout.table,
                    aggregates: Vec::new(),
                    columns: layout.keys.clone(),
                    groups: Vec::new(),
                    once: 0,
                    by_row: selection.by_row.len(),
                    of_groups: 0,
                },
                expressions: Vec::new(),
                row: Vec::new(),
                selection,
                table,
            };
            for &info in &clauses {
                if (*info).pseudoconstant {
                    planned.expressions.push((*info).clause);
                    planned.spec.once += 1;
                }
            }
            planned.expressions.extend(&planned.selection.by_row);
            let before = planned.expressions.len();
            let target = (*output).reltarget;
            for (number, expression) in PgList::<pg_sys::Expr>::from_pg((*target).exprs)
                .iter_ptr()
                .enumerate()
            {
                if (*expression).type_ == pg_sys::NodeTag::T_Aggref {
                    let aggregate = aggregate(layout, table, &*expression.cast())?;
                    planned.spec.aggregates.push(aggregate);
                    planned.row.push(expression);
                } else {
                    let reference = if (*target).sortgrouprefs.is_null() {
                        0
                    } else {
                        *(*target).sortgrouprefs.add(number)
                    };
                    // What a condition fixes to one value is not grouped by: the value of any row will do.
                    if reference != 0 {
                        planned.group(layout, expression, before)?;
                    } else if !is_known(layout, table, expression) {
                        return None;
                    }
                }
            }
            planned.spec.of_groups = planned.expressions.len() - before;
            planned.add_columns(layout)?;
            Some(planned)
        }
    }

    /// # Safety
    /// The planner's expression.
    unsafe fn group(
        &mut self,
        layout: &Layout,
        expression: *mut pg_sys::Expr,
        before: usize,
    ) -> Option<()> {
        // SAFETY: as the caller says.
        unsafe {
            let mut add = |expression| {
                self.expressions.push(expression);
                self.expressions.len() - 1 - before
            };
            if (*expression).type_ == pg_sys::NodeTag::T_Var {
                let var = &*expression.cast::<pg_sys::Var>();
                let place = usize::try_from(i32::from(var.varattno) - 1).ok()?;
                if let Some(key) = layout.key_at(place) {
                    self.spec.groups.push(Group::Key(key));
                    return Some(());
                }
                if place != layout.order {
                    return None;
                }
            }
            let of_known = columns_of(expression.cast(), self.table)
                .iter()
                .all(|&number| {
                    usize::try_from(number - 1)
                        .is_ok_and(|place| place == layout.order || layout.key_at(place).is_some())
                });
            if !of_known
                || pg_sys::contain_volatile_functions(expression.cast())
                || pg_sys::contain_subplans(expression.cast())
                || pg_sys::expression_returns_set(expression.cast())
            {
                return None;
            }
            let group = match times::recognise(layout, self.table, expression) {
                Some(Buckets::Calendar { width, zone }) => Group::Calendar {
                    whole: add(expression),
                    width: add(width),
                    zone: add(zone),
                },
                Some(Buckets::Asked {
                    inner,
                    zones,
                    session,
                }) => {
                    let (whole, inner) = (add(expression), add(inner));
                    let first = inner + 1;
                    let last = zones
                        .iter()
                        .map(|&zone| add(zone))
                        .last()
                        .map_or(first, |last| last + 1);
                    Group::Asked {
                        whole,
                        inner,
                        zones: (first, last),
                        session,
                    }
                }
                None => Group::Each {
                    of_keys: !columns_of(expression.cast(), self.table)
                        .contains(&(layout.order as i32 + 1)),
                    whole: add(expression),
                },
            };
            self.spec.groups.push(group);
            Some(())
        }
    }

    /// Behind the aggregates the row has the columns that expressions and groups read.
    ///
    /// # Safety
    /// The planner's own structures.
    unsafe fn add_columns(&mut self, layout: &Layout) -> Option<()> {
        // SAFETY: as the caller says.
        unsafe {
            let mut read: Vec<i32> = Vec::new();
            let selected = self.selection.expressions();
            read.extend(columns_of(selected.cast(), self.table));
            for expression in &self.expressions {
                read.extend(columns_of(expression.cast(), self.table));
            }
            if !self.spec.columns.contains(&layout.order) {
                self.spec.columns.push(layout.order);
            }
            for number in read {
                let place = usize::try_from(number - 1).ok()?;
                let column = layout.columns.get(place)?;
                // What is computed, or was added later, is for those who read rows.
                if column.stored.is_none() || column.shape.is_none() {
                    return None;
                }
                if !self.spec.columns.contains(&place) {
                    self.spec.columns.push(place);
                }
            }
            for &place in &self.spec.columns {
                let column = &layout.columns[place];
                self.row.push(
                    pg_sys::makeVar(
                        self.table as _,
                        place as i16 + 1,
                        column.type_oid,
                        column.typmod,
                        column.collation,
                        0,
                    )
                    .cast(),
                );
            }
            Some(())
        }
    }

    /// What the path keeps for the plan: both lists of numbers, the expressions, and the row.
    ///
    /// # Safety
    /// Called by the planner.
    unsafe fn list(&self) -> *mut pg_sys::List {
        // SAFETY: nodes of the planner's, in its memory.
        unsafe {
            let mut expressions = PgList::<pg_sys::Expr>::from_pg(self.selection.expressions());
            for &expression in &self.expressions {
                expressions.push(expression);
            }
            let mut row = PgList::<pg_sys::TargetEntry>::new();
            for (number, &expression) in self.row.iter().enumerate() {
                row.push(pg_sys::makeTargetEntry(
                    expression,
                    number as i16 + 1,
                    std::ptr::null_mut(),
                    false,
                ));
            }
            let mut parts = PgList::<pg_sys::List>::new();
            parts.push(self.selection.numbers(Order::None, &[]));
            parts.push(self.spec.numbers());
            parts.push(expressions.into_pg());
            parts.push(row.into_pg());
            parts.into_pg()
        }
    }

    /// # Safety
    /// The planner's own structures.
    unsafe fn cost(&self, input: *mut pg_sys::RelOptInfo) -> f64 {
        // SAFETY: as the caller says.
        unsafe {
            let rows = if self.selection.by_row.is_empty() {
                (*input).rows
            } else {
                (*input).tuples.max((*input).rows)
            };
            let columns = self.spec.aggregates.len().max(1) as f64;
            let segments = (rows / ROWS).max(1.0) * SEGMENT;
            let conditions =
                rows * self.selection.by_row.len() as f64 * 4.0 * pg_sys::cpu_operator_cost;
            let cost = (segments + rows * columns * VALUE) * pg_sys::cpu_tuple_cost + conditions;
            // The same segments, and no rows are made: never as much as reading rows, whatever that is reckoned at.
            let cheapest = (*input).cheapest_total_path;
            if cheapest.is_null() {
                cost
            } else {
                cost.min((*cheapest).total_cost * BELOW_ROWS)
            }
        }
    }

    /// About how many groups come out.
    ///
    /// # Safety
    /// The planner's own structures.
    unsafe fn groups(&self, input: *mut pg_sys::RelOptInfo) -> f64 {
        if self.spec.groups.is_empty() {
            return 1.0;
        }
        // SAFETY: as the caller says.
        let rows = unsafe { (*input).rows };
        let by_time = self
            .spec
            .groups
            .iter()
            .any(|group| !matches!(group, Group::Key(_)));
        // A segment is a day or so: one group each, or one for each hour.
        let a_segment = if by_time { ROWS / 24.0 } else { ROWS * 30.0 };
        (rows / a_segment).max(1.0).round()
    }
}

/// A key, or the time.
///
/// # Safety
/// The planner's own node.
unsafe fn is_known(layout: &Layout, table: pg_sys::Index, expression: *mut pg_sys::Expr) -> bool {
    // SAFETY: the cast follows the node's own tag.
    unsafe {
        if (*expression).type_ != pg_sys::NodeTag::T_Var {
            return false;
        }
        let var = &*expression.cast::<pg_sys::Var>();
        var.varno as pg_sys::Index == table
            && usize::try_from(i32::from(var.varattno) - 1)
                .is_ok_and(|place| place == layout.order || layout.key_at(place).is_some())
    }
}

/// What an aggregate computes, if that can be done on segments.
///
/// # Safety
/// The planner's own node.
unsafe fn aggregate(
    layout: &Layout,
    table: pg_sys::Index,
    node: &pg_sys::Aggref,
) -> Option<Aggregate> {
    if !node.aggorder.is_null()
        || !node.aggdistinct.is_null()
        || !node.aggfilter.is_null()
        || !node.aggdirectargs.is_null()
        || node.agglevelsup != 0
    {
        return None;
    }
    let function = Function::of(node.aggfnoid)?;
    if function == Function::CountRows {
        return Some(Aggregate { function, place: 0 });
    }
    // SAFETY: an aggregate's arguments are target entries; the cast follows the node's own tag.
    unsafe {
        let argument = (*PgList::<pg_sys::TargetEntry>::from_pg(node.args).get_ptr(0)?).expr;
        if (*argument).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        let var = &*argument.cast::<pg_sys::Var>();
        let place = usize::try_from(i32::from(var.varattno) - 1).ok()?;
        let column = layout.columns.get(place)?;
        (var.varno as pg_sys::Index == table
            && var.varlevelsup == 0
            && column.stored.is_some()
            && column.shape.is_some())
        .then_some(Aggregate { function, place })
    }
}
