//! Grids, places in them, and overlaps.

use super::*;
use proptest::prelude::*;

#[test]
fn a_layout_has_twelve_columns_unless_it_says_otherwise() {
    for json in ["{}", r#"{"columns": null, "row_height": null}"#] {
        assert_eq!(Layout::read(json), Ok(Layout::default()));
    }
    assert_eq!(Layout::default().columns, 12);
    let layout = Layout::read(r#"{"columns": 48, "row_height": 8, "custom": {"gap": 4.0}}"#);
    let layout = layout.expect("a layout");
    assert_eq!((layout.columns, layout.row_height), (48, Some(8)));
    assert_eq!(
        layout.custom.as_ref().map(Custom::json),
        Some(r#"{"gap": 4.0}"#)
    );
    let written = serde_json::to_string(&layout).expect("JSON");
    assert_eq!(Layout::read(&written), Ok(layout));
}

#[test]
fn layouts_are_refused_by_their_place() {
    for (json, refusal) in [
        (
            r#"{"columns": 0}"#,
            "layout_config.columns: invalid value: integer `0`, expected a whole number from 1 to 48",
        ),
        (
            r#"{"columns": 49}"#,
            "layout_config.columns: invalid value: integer `49`, expected a whole number from 1 to 48",
        ),
        (
            r#"{"columns": "12"}"#,
            "layout_config.columns: invalid type: string \"12\", expected a whole number from 1 to 48",
        ),
        (
            r#"{"row_height": 401}"#,
            "layout_config.row_height: invalid value: integer `401`, expected a whole number from 8 to 400",
        ),
        (
            r#"{"widgets": []}"#,
            "layout_config.widgets: unknown field `widgets`, expected one of `columns`, `row_height`, `custom`",
        ),
        (
            "[12]",
            "layout_config: invalid type: sequence, expected an object",
        ),
    ] {
        assert_eq!(
            Layout::read(json).expect_err("refused").to_string(),
            refusal
        );
    }
}

#[test]
fn a_widget_ends_within_the_grid() {
    for position in [
        json!({"x": 0, "y": 0, "width": 12, "height": 10_000}),
        json!({"x": 11, "y": 9_999, "width": 1, "height": 1}),
    ] {
        assert!(Sample::position(position).read().is_ok());
    }
    for (position, refusal) in [
        (
            json!({"x": 9, "y": 0, "width": 4, "height": 1}),
            "position_config.width: it ends at 13, and there are 12 columns",
        ),
        (
            json!({"x": 0, "y": 9_999, "width": 4, "height": 2}),
            "position_config.height: it ends at 10001, and there are 10000 rows",
        ),
        (
            json!({"x": -1, "y": 0, "width": 4, "height": 1}),
            "position_config.x: invalid value: integer `-1`, expected a whole number from 0 to 47",
        ),
        (
            json!({"x": 0, "y": 10_000, "width": 4, "height": 1}),
            "position_config.y: invalid value: integer `10000`, expected a whole number from 0 to 9999",
        ),
        (
            json!({"x": 0, "y": 0, "width": 0, "height": 1}),
            "position_config.width: invalid value: integer `0`, expected a whole number from 1 to 48",
        ),
        (
            json!({"x": 0, "y": 0, "width": 1, "height": 0.5}),
            "position_config.height: invalid type: floating point `0.5`, expected a whole number from 1 to 10000",
        ),
        (
            json!({"x": 0, "y": 0, "width": 1}),
            "position_config: missing field `height`",
        ),
        (
            json!({"x": 0, "y": 0, "width": 1, "height": 1, "z": 1}),
            "position_config.z: unknown field `z`, expected one of `x`, `y`, `width`, `height`",
        ),
        (
            json!([0, 0, 1, 1]),
            "position_config: invalid type: sequence, expected an object",
        ),
    ] {
        assert_eq!(Sample::position(position).refusal(), refusal);
    }
}

fn at(x: u32, y: u32, width: u32, height: u32) -> Position {
    Position {
        x,
        y,
        width,
        height,
    }
}

#[test]
fn neighbours_do_not_overlap() {
    assert_eq!(overlap(&[]), None);
    let grid = [
        at(0, 0, 6, 4),
        at(6, 0, 6, 4),
        at(0, 4, 12, 2),
        at(3, 6, 1, 1),
    ];
    assert_eq!(overlap(&grid), None);
    // As many as a dashboard may have, and in any order.
    let mut many: Vec<Position> = (0..500).map(|n| at(n % 12, n / 12, 1, 1)).collect();
    many.reverse();
    assert_eq!(overlap(&many), None);
}

#[test]
fn an_overlap_says_which_and_where() {
    let grid = [at(4, 2, 4, 4), at(0, 0, 5, 3)];
    let found = overlap(&grid).expect("an overlap");
    assert_eq!((found.first, found.second), (1, 0));
    assert_eq!(found.cells, at(4, 2, 1, 1));
    // One that stands on a tall one, far below where that begins.
    let grid = [at(0, 0, 1, 100), at(1, 0, 11, 1), at(0, 99, 12, 1)];
    let found = overlap(&grid).expect("an overlap");
    assert_eq!((found.first, found.second), (0, 2));
    assert_eq!(found.cells, at(0, 99, 1, 1));
    // The same place.
    let found = overlap(&[at(2, 2, 2, 2), at(2, 2, 2, 2)]).expect("an overlap");
    assert_eq!(
        (found.first, found.second, found.cells),
        (0, 1, at(2, 2, 2, 2))
    );
}

fn anywhere() -> impl Strategy<Value = Position> {
    (0u32..12, 0u32..40, 1u32..6, 1u32..6)
        .prop_map(|(x, y, width, height)| at(x, y, width.min(12 - x), height))
}

/// Each cell, with those that take it.
fn takers(widgets: &[Position], x: u32, y: u32) -> Vec<usize> {
    let takes =
        |w: &Position| (w.x..w.x + w.width).contains(&x) && (w.y..w.y + w.height).contains(&y);
    (0..widgets.len()).filter(|&n| takes(&widgets[n])).collect()
}

proptest! {
    #[test]
    fn overlaps_are_cells_that_two_take(widgets in prop::collection::vec(anywhere(), 0..12)) {
        let shared = (0..12)
            .flat_map(|x| (0..50).map(move |y| (x, y)))
            .filter(|&(x, y)| takers(&widgets, x, y).len() > 1)
            .count();
        match overlap(&widgets) {
            None => prop_assert_eq!(shared, 0),
            Some(Overlap { first, second, cells }) => {
                prop_assert_ne!(first, second);
                let mut common = 0;
                for (x, y) in (0..12).flat_map(|x| (0..50).map(move |y| (x, y))) {
                    let takers = takers(&widgets, x, y);
                    let both = takers.contains(&first) && takers.contains(&second);
                    prop_assert_eq!(both, !takers_of(cells, x, y).is_empty());
                    common += usize::from(both);
                }
                prop_assert!(common > 0);
            }
        }
    }
}

fn takers_of(cells: Position, x: u32, y: u32) -> Vec<usize> {
    takers(&[cells], x, y)
}
