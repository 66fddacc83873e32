//! What of a query's conditions decides which segments are read, and which of their rows.
//!
//! At plan time a [`Selection`] sorts the conditions by who looks at them:
//!
//! - those on keys alone are the same for all rows of a segment: evaluated once for each (`by_segment`);
//! - comparisons of a column with something that is constant during the scan are decided by the reader itself
//!   (`by_reader`): keys by the index, the time as a range, other columns by least and greatest value of a segment
//!   and then on the decoded column;
//! - everything else is the executor's, row by row (`by_row`).
//!
//! It travels in the plan as a list of numbers and the expressions that they speak of, and is [`Chosen`] again
//! when the plan runs.
//!
//! Policies come before leaky conditions of the user's: a condition on keys that is not leakproof stays with
//! the rows if one that must come before it does. What the reader compares by itself runs no function that could
//! leak anything.

#![expect(unsafe_code, reason = "reads the planner's expressions")]

use super::layout::{Layout, Shape, is_deterministic};
use crate::error::{Error, Result};
use pgrx::PgList;
use pgrx::prelude::*;

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Less = 1,
    LessEqual = 2,
    Equal = 3,
    GreaterEqual = 4,
    Greater = 5,
    /// `= ANY (array)`
    AnyOf = 6,
    Null = 7,
    NotNull = 8,
}

impl Test {
    fn of(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Less,
            2 => Self::LessEqual,
            3 => Self::Equal,
            4 => Self::GreaterEqual,
            5 => Self::Greater,
            6 => Self::AnyOf,
            7 => Self::Null,
            8 => Self::NotNull,
            _ => return None,
        })
    }

    fn has_value(self) -> bool {
        !matches!(self, Self::Null | Self::NotNull)
    }
}

/// What a condition is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The n-th key is looked up in the index.
    Key(usize),
    /// It bounds the time.
    Time,
    /// It is looked at in a segment's head, and on its decoded column.
    Filter,
}

/// A column compared with something that is constant during the scan.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// The column's place in the layout.
    pub place: usize,
    pub test: Test,
    /// The value's type; of an array, its elements'.
    pub value_type: pg_sys::Oid,
    pub purpose: Use,
    /// The reader decides alone. Otherwise it only leaves out what cannot match, and the executor looks again.
    pub exact: bool,
    /// Null for tests that have none.
    pub value: *mut pg_sys::Expr,
    /// The condition as a whole.
    pub clause: *mut pg_sys::Expr,
}

/// In which order rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    None = 0,
    Forward = 1,
    Backward = 2,
}

/// The conditions of a scan, sorted. Each list keeps the order in which they were given.
pub struct Selection {
    pub by_segment: Vec<*mut pg_sys::Expr>,
    pub by_reader: Vec<*mut pg_sys::Expr>,
    pub by_row: Vec<*mut pg_sys::Expr>,
    pub conditions: Vec<Condition>,
    /// Those that leave out segments as a whole, as the planner knows them.
    pub narrowing: Vec<*mut pg_sys::RestrictInfo>,
    /// The first keys are fixed by conditions, so many of them.
    pub fixed_keys: usize,
}

impl Selection {
    /// Sorts conditions. With `look_up`, keys that are compared with constants are looked up in the index.
    ///
    /// # Safety
    /// The conditions are the planner's, on the table of this number in the query.
    pub unsafe fn of(
        layout: &Layout,
        table: pg_sys::Index,
        clauses: &[*mut pg_sys::RestrictInfo],
        look_up: bool,
    ) -> Self {
        // SAFETY: as the caller says.
        unsafe {
            let mut clauses = clauses.to_vec();
            // What a policy says comes before what the user says, who might learn something otherwise.
            clauses.sort_by_key(|&info| (*info).security_level);
            let clauses: Vec<_> = clauses
                .iter()
                .filter(|&&info| !(*info).pseudoconstant)
                .map(|&info| (info, condition(layout, table, (*info).clause)))
                .collect();
            // As for an index of the server's: what might tell something of rows that a policy hides has to wait for it.
            let least = clauses
                .first()
                .map_or(0, |(info, _)| (**info).security_level);
            let is_safe =
                |info: &pg_sys::RestrictInfo, level| info.leakproof || info.security_level <= level;
            let looked_up = if look_up {
                keys(
                    layout,
                    clauses
                        .iter()
                        .map(|(info, found)| found.as_ref().filter(|_| is_safe(&**info, least))),
                )
            } else {
                Vec::new()
            };
            let mut sorted = Self {
                by_segment: Vec::new(),
                by_reader: Vec::new(),
                by_row: Vec::new(),
                conditions: Vec::new(),
                narrowing: Vec::new(),
                fixed_keys: looked_up.len(),
            };
            let mut on_keys = Vec::new();
            // The least level of what is decided for each row.
            let mut first_by_row = pg_sys::Index::MAX;
            for (number, (node, found)) in clauses.iter().enumerate() {
                let info = &**node;
                let key = looked_up.iter().position(|&chosen| chosen == number);
                match (found, key) {
                    (Some(found), Some(key)) => {
                        sorted.by_reader.push(info.clause);
                        sorted.conditions.push(Condition {
                            purpose: Use::Key(key),
                            ..*found
                        });
                        sorted.narrowing.push(*node);
                    }
                    (Some(_), None) if !is_safe(info, first_by_row) => {
                        sorted.by_row.push(info.clause);
                    }
                    // Never NULL, so nothing is left to be decided.
                    (Some(found), None)
                        if found.place == layout.order && found.test == Test::NotNull =>
                    {
                        sorted.by_reader.push(info.clause);
                    }
                    (Some(found), None) if layout.key_at(found.place).is_none() => {
                        if found.exact {
                            sorted.by_reader.push(info.clause);
                        } else {
                            sorted.by_row.push(info.clause);
                        }
                        first_by_row = first_by_row.min(info.security_level);
                        sorted.conditions.push(*found);
                        if found.purpose == Use::Time {
                            sorted.narrowing.push(*node);
                        }
                    }
                    _ if is_of_keys(layout, table, info.clause) => {
                        on_keys.push((*node, sorted.by_row.len()))
                    }
                    _ => {
                        sorted.by_row.push(info.clause);
                        first_by_row = first_by_row.min(info.security_level);
                    }
                }
            }
            // Once per segment is before all rows, so nothing leaky may go there that has to wait for one of them.
            let mut moved = 0;
            for (node, position) in on_keys {
                let info = &*node;
                if is_safe(info, first_by_row) {
                    sorted.by_segment.push(info.clause);
                    sorted.narrowing.push(node);
                } else {
                    sorted.by_row.insert(position + moved, info.clause);
                    moved += 1;
                }
            }
            sorted
        }
    }

    /// Can rows come in order of time? They can if all keys are fixed to one value each, and the order of the index is
    /// that of one series.
    pub fn is_one_series(&self, layout: &Layout) -> bool {
        self.fixed_keys == layout.keys.len()
            && layout.keys_are_distinct()
            && self.conditions.iter().all(|condition| {
                !matches!(condition.purpose, Use::Key(_)) || condition.test != Test::AnyOf
            })
    }

    /// The expressions for the plan, which [`Chosen`] finds again.
    ///
    /// # Safety
    /// Called by the planner, in whose memory the list is.
    pub unsafe fn expressions(&self) -> *mut pg_sys::List {
        let mut all = PgList::<pg_sys::Expr>::new();
        let values = self.conditions.iter().map(|condition| condition.value);
        for expression in self
            .by_segment
            .iter()
            .chain(&self.by_reader)
            .copied()
            .chain(values)
        {
            if !expression.is_null() {
                all.push(expression);
            }
        }
        all.into_pg()
    }

    /// What the executor evaluates again where a row is looked at a second time.
    ///
    /// # Safety
    /// As for [`Self::expressions`].
    pub unsafe fn recheck(&self) -> *mut pg_sys::List {
        let mut all = PgList::<pg_sys::Expr>::new();
        for expression in self.by_segment.iter().chain(&self.by_reader) {
            all.push(*expression);
        }
        all.into_pg()
    }

    /// The numbers for the plan. `needed` are places of columns whose values are wanted.
    ///
    /// # Safety
    /// As for [`Self::expressions`].
    pub unsafe fn numbers(&self, order: Order, needed: &[usize]) -> *mut pg_sys::List {
        let mut numbers = vec![
            order as i32,
            self.fixed_keys as i32,
            self.by_segment.len() as i32,
            self.by_reader.len() as i32,
            self.conditions.len() as i32,
        ];
        for condition in &self.conditions {
            let clause = self
                .by_reader
                .iter()
                .position(|&clause| clause == condition.clause);
            numbers.extend([
                condition.place as i32,
                condition.test as i32,
                u32::from(condition.value_type).cast_signed(),
                match condition.purpose {
                    Use::Key(key) => key as i32,
                    Use::Time => -1,
                    Use::Filter => -2,
                },
                i32::from(condition.exact),
                clause.map_or(-1, |clause| clause as i32),
            ]);
        }
        numbers.push(needed.len() as i32);
        numbers.extend(needed.iter().map(|&place| place as i32));
        let mut list = std::ptr::null_mut();
        for number in numbers {
            // SAFETY: a list of the planner's.
            list = unsafe { pg_sys::lappend_int(list, number) };
        }
        list
    }
}

/// A selection as it stands in a plan.
pub struct Chosen {
    pub order: Order,
    pub fixed_keys: usize,
    pub by_segment: *mut pg_sys::List,
    pub by_reader: *mut pg_sys::List,
    pub conditions: Vec<Condition>,
    pub needed: Vec<usize>,
    /// How many of the plan's expressions are its own; others may follow.
    pub expressions: usize,
}

impl Chosen {
    /// # Errors
    /// `XX000` where the lists are not what [`Selection`] wrote.
    ///
    /// # Safety
    /// A list of integers, and one of expressions, of a plan.
    pub unsafe fn of(numbers: *mut pg_sys::List, expressions: *mut pg_sys::List) -> Result<Self> {
        // SAFETY: as the caller says; the new lists point to the same expressions.
        unsafe {
            let mut numbers = PgList::<()>::from_pg(numbers)
                .iter_int()
                .collect::<Vec<_>>()
                .into_iter();
            let expressions = PgList::<pg_sys::Expr>::from_pg(expressions);
            let mut taken = 0;
            let mut number = || numbers.next().ok_or_else(unreadable);
            let mut expression = || {
                taken += 1;
                expressions.get_ptr(taken - 1).ok_or_else(unreadable)
            };
            let order = match number()? {
                1 => Order::Forward,
                2 => Order::Backward,
                _ => Order::None,
            };
            let fixed_keys = number()? as usize;
            let (of_segment, of_reader, conditions) = (number()?, number()?, number()?);
            let mut by_segment = PgList::<pg_sys::Expr>::new();
            for _ in 0..of_segment {
                by_segment.push(expression()?);
            }
            let mut by_reader = PgList::<pg_sys::Expr>::new();
            for _ in 0..of_reader {
                by_reader.push(expression()?);
            }
            let mut all = Vec::new();
            for _ in 0..conditions {
                let place = number()? as usize;
                let test = Test::of(number()?).ok_or_else(unreadable)?;
                let value_type = pg_sys::Oid::from(number()?.cast_unsigned());
                let purpose = match number()? {
                    -1 => Use::Time,
                    -2 => Use::Filter,
                    key => Use::Key(key as usize),
                };
                let exact = number()? != 0;
                let clause = by_reader
                    .get_ptr(number()? as usize)
                    .unwrap_or(std::ptr::null_mut());
                let value = if test.has_value() {
                    expression()?
                } else {
                    std::ptr::null_mut()
                };
                all.push(Condition {
                    place,
                    test,
                    value_type,
                    purpose,
                    exact,
                    value,
                    clause,
                });
            }
            let needed = (0..number()?)
                .map(|_| number().map(|place| place as usize))
                .collect::<Result<_>>()?;
            Ok(Self {
                order,
                fixed_keys,
                by_segment: by_segment.into_pg(),
                by_reader: by_reader.into_pg(),
                conditions: all,
                needed,
                expressions: taken,
            })
        }
    }
}

fn unreadable() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        "the plan of a compressed partition is unreadable",
    )
    .hint("please report this")
}

/// Which conditions fix the first keys: for each of them one, the narrowest. Only one key may have several values: those
/// of two would be looked up one by one in all combinations, of which there may be any number.
fn keys<'c>(
    layout: &Layout,
    found: impl Iterator<Item = Option<&'c Condition>> + Clone,
) -> Vec<usize> {
    let mut several = false;
    let mut of_key = |key: usize| {
        let chosen = found
            .clone()
            .enumerate()
            .filter_map(|(number, condition)| condition.map(|condition| (number, condition)))
            .filter(|(_, condition)| {
                layout.key_at(condition.place) == Some(key)
                    && fixes_key(layout, condition)
                    && !(several && condition.test == Test::AnyOf)
            })
            .min_by_key(|(_, condition)| match condition.test {
                Test::Equal => 0,
                Test::Null => 1,
                _ => 2,
            });
        several |= chosen.is_some_and(|(_, condition)| condition.test == Test::AnyOf);
        chosen.map(|(number, _)| number)
    };
    (0..layout.keys.len()).map_while(&mut of_key).collect()
}

/// Can a key be looked up by this condition?
fn fixes_key(layout: &Layout, condition: &Condition) -> bool {
    let column = &layout.columns[condition.place];
    let int = |shape| matches!(shape, Some(Shape::Int2 | Shape::Int4 | Shape::Int8));
    let value = Shape::of(condition.value_type);
    match condition.test {
        Test::Null => true,
        Test::Equal => value == column.shape || int(value) && int(column.shape),
        // Values of an array that are equal are looked up once, for which they have to be the same.
        Test::AnyOf => {
            column.is_distinct() && (value == column.shape || int(value) && int(column.shape))
        }
        _ => false,
    }
}

/// Of the columns of the table only keys, and no volatile function.
///
/// # Safety
/// The planner's expression.
unsafe fn is_of_keys(layout: &Layout, table: pg_sys::Index, clause: *mut pg_sys::Expr) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let columns = columns_of(clause.cast(), table);
        !columns.is_empty()
            && columns
                .iter()
                .all(|&number| number > 0 && layout.key_at(number as usize - 1).is_some())
            && !pg_sys::contain_volatile_functions(clause.cast())
    }
}

/// Attribute numbers of a table's columns in an expression; 0 is the whole row, those below are the server's own.
///
/// # Safety
/// An expression of the planner's.
pub unsafe fn columns_of(expression: *mut pg_sys::Node, table: pg_sys::Index) -> Vec<i32> {
    // SAFETY: as the caller says; the set is freed after it was read.
    unsafe {
        let mut set = std::ptr::null_mut();
        pg_sys::pull_varattnos(expression, table, &raw mut set);
        let mut found = Vec::new();
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(set, member);
            if member < 0 {
                break;
            }
            found.push(member + pg_sys::FirstLowInvalidHeapAttributeNumber);
        }
        pg_sys::bms_free(set);
        found
    }
}

/// The same during all of a scan: without columns of the table and volatile functions.
///
/// # Safety
/// As for [`columns_of`].
unsafe fn is_constant(expression: *mut pg_sys::Node, table: pg_sys::Index) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        columns_of(expression, table).is_empty()
            && !pg_sys::contain_volatile_functions(expression)
            && !pg_sys::contain_subplans(expression)
    }
}

/// The place of a column of the table's own that an expression is, maybe as another type with the same bytes.
///
/// # Safety
/// As for [`columns_of`].
unsafe fn place_of(
    layout: &Layout,
    table: pg_sys::Index,
    mut node: *mut pg_sys::Node,
) -> Option<usize> {
    // SAFETY: each cast follows the node's own tag.
    unsafe {
        while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        if (*node).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        let var = &*node.cast::<pg_sys::Var>();
        let place = usize::try_from(i32::from(var.varattno) - 1).ok()?;
        let column = layout.columns.get(place)?;
        (var.varno as pg_sys::Index == table
            && var.varlevelsup == 0
            && column.stored.is_some()
            && column.shape.is_some())
        .then_some(place)
    }
}

/// What the reader can do with a condition, if anything.
///
/// # Safety
/// As for [`columns_of`].
unsafe fn condition(
    layout: &Layout,
    table: pg_sys::Index,
    clause: *mut pg_sys::Expr,
) -> Option<Condition> {
    // SAFETY: each cast follows the node's own tag.
    unsafe {
        match (*clause).type_ {
            pg_sys::NodeTag::T_NullTest => {
                let test = &*clause.cast::<pg_sys::NullTest>();
                let place = place_of(layout, table, test.arg.cast())?;
                Some(Condition {
                    place,
                    test: match test.nulltesttype {
                        pg_sys::NullTestType::IS_NULL => Test::Null,
                        _ => Test::NotNull,
                    },
                    value_type: pg_sys::InvalidOid,
                    purpose: Use::Filter,
                    exact: true,
                    value: std::ptr::null_mut(),
                    clause,
                })
                // A time is never NULL.
                .filter(|found| found.place != layout.order || found.test == Test::NotNull)
            }
            pg_sys::NodeTag::T_OpExpr => {
                let operation = &*clause.cast::<pg_sys::OpExpr>();
                let arguments = PgList::<pg_sys::Node>::from_pg(operation.args);
                let (left, right) = (arguments.get_ptr(0)?, arguments.get_ptr(1)?);
                let (place, value, operator) = match place_of(layout, table, left) {
                    Some(place) => (place, right, operation.opno),
                    None => (
                        place_of(layout, table, right)?,
                        left,
                        pg_sys::get_commutator(operation.opno),
                    ),
                };
                compared(
                    layout,
                    table,
                    place,
                    operator,
                    operation.inputcollid,
                    value,
                    clause,
                    false,
                )
            }
            pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                let operation = &*clause.cast::<pg_sys::ScalarArrayOpExpr>();
                let arguments = PgList::<pg_sys::Node>::from_pg(operation.args);
                let place = place_of(layout, table, arguments.get_ptr(0)?)?;
                // Only keys are looked up one after the other.
                if !operation.useOr || layout.key_at(place).is_none() {
                    return None;
                }
                compared(
                    layout,
                    table,
                    place,
                    operation.opno,
                    operation.inputcollid,
                    arguments.get_ptr(1)?,
                    clause,
                    true,
                )
            }
            _ => None,
        }
    }
}

/// A column compared with a value.
///
/// # Safety
/// As for [`columns_of`].
#[expect(clippy::too_many_arguments, reason = "the parts of one expression")]
unsafe fn compared(
    layout: &Layout,
    table: pg_sys::Index,
    place: usize,
    operator: pg_sys::Oid,
    collation: pg_sys::Oid,
    value: *mut pg_sys::Node,
    clause: *mut pg_sys::Expr,
    any: bool,
) -> Option<Condition> {
    let column = &layout.columns[place];
    let shape = column.shape?;
    // SAFETY: look-ups in the system caches.
    let (strategy, left, right) = unsafe {
        if operator == pg_sys::InvalidOid || !is_constant(value, table) {
            return None;
        }
        let known =
            pg_sys::lookup_type_cache(column.type_oid, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32);
        let strategy = pg_sys::get_op_opfamily_strategy(operator, (*known).btree_opf);
        let (mut left, mut right) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::op_input_types(operator, &raw mut left, &raw mut right);
        (strategy, left, right)
    };
    let mut test = Test::of(strategy).filter(|test| (*test as i32) < Test::AnyOf as i32)?;
    let (own, other) = (Shape::of(left)?, Shape::of(right)?);
    // The column is compared as it is stored, not as what it was made of.
    if own != shape {
        return None;
    }
    if shape == Shape::Text {
        let same_order = collation == column.collation;
        let by_bytes = is_deterministic(collation) && is_deterministic(column.collation);
        let fits = if layout.key_at(place).is_some() {
            same_order || by_bytes
        } else {
            is_deterministic(collation)
        };
        if test != Test::Equal || !fits {
            return None;
        }
    }
    if any {
        if test != Test::Equal {
            return None;
        }
        test = Test::AnyOf;
    }
    let is_int = |shape| matches!(shape, Shape::Int2 | Shape::Int4 | Shape::Int8);
    let is_float = |shape| matches!(shape, Shape::Float4 | Shape::Float8);
    let is_time = |shape| matches!(shape, Shape::Date | Shape::Time);
    let exact = match () {
        () if is_int(shape) => is_int(other),
        () if is_float(shape) => is_float(other),
        // Date, timestamp and timestamptz are all of one family.
        () if is_time(shape) => right == column.type_oid,
        () => own == other,
    };
    let is_order = place == layout.order;
    (exact || is_order && is_time(other)).then_some(Condition {
        place,
        test,
        value_type: right,
        purpose: if is_order { Use::Time } else { Use::Filter },
        exact,
        value: value.cast(),
        clause,
    })
}
