use super::super::movers::*;
use super::refused_field;
use proptest::prelude::*;

fn item(name: &str, previous: impl Into<Option<f64>>, current: impl Into<Option<f64>>) -> Item {
    Item {
        name: name.to_owned(),
        previous: previous.into(),
        current: current.into(),
        history: Vec::new(),
    }
}

fn names(list: &[Mover]) -> Vec<&str> {
    list.iter().map(|mover| mover.name.as_str()).collect()
}

#[test]
fn what_rose_and_what_fell() {
    let items = [
        item("same", 50.0, 50.0),
        item("down", 100.0, 70.0),
        item("up", 400.0, 520.0),
        item("new", None, 30.0),
        item("gone", 20.0, None),
        item("never", None, None),
        item("from nothing", 0.0, 10.0),
    ];
    let found = movers(&items, 2).expect("movers");
    assert_eq!(
        (found.previous, found.current, found.change),
        (570.0, 680.0, 110.0)
    );
    assert_eq!(names(&found.risers), ["up", "new"]);
    assert_eq!(names(&found.fallers), ["down", "gone"]);
    let up = &found.risers[0];
    assert_eq!(
        (up.change, up.relative, up.share),
        (120.0, Some(0.3), Some(120.0 / 110.0))
    );
    assert_eq!((up.presence, up.confidence()), (Presence::Stayed, None));
    let new = &found.risers[1];
    assert_eq!(
        (new.presence, new.change, new.relative),
        (Presence::New, 30.0, None)
    );
    let down = &found.fallers[0];
    assert_eq!(
        (down.relative, down.share),
        (Some(-0.3), Some(-30.0 / 110.0))
    );
    assert_eq!(found.fallers[1].presence, Presence::Gone);
    assert_eq!(found.fallers[1].relative, Some(-1.0));
    let all = movers(&items, 9).expect("movers");
    assert_eq!(names(&all.risers), ["up", "new", "from nothing"]);
    assert_eq!(all.risers[2].relative, None);
    assert_eq!(names(&all.fallers), ["down", "gone"]);
    let none = movers(&items, 0).expect("movers");
    assert!(none.risers.is_empty() && none.fallers.is_empty());
    assert_eq!(none.change, 110.0);
}

#[test]
fn of_equal_changes_the_name_decides() {
    let items = [
        item("b", 1.0, 3.0),
        item("é", 1.0, 3.0),
        item("a", 5.0, 7.0),
        item("Z", 0.0, 2.0),
        item("d", 3.0, 1.0),
        item("c", 3.0, 1.0),
    ];
    let found = movers(&items, 3).expect("movers");
    assert_eq!(names(&found.risers), ["Z", "a", "b"]);
    assert_eq!(names(&found.fallers), ["c", "d"]);
}

#[test]
fn a_total_that_stayed_has_no_shares() {
    let found = movers(&[item("a", 0.3, 0.1), item("b", 0.0, 0.2)], 5).expect("movers");
    assert_eq!(
        (found.risers[0].share, found.fallers[0].share),
        (None, None)
    );
    // 0.1 − 0.3 and 0.2 do not quite add up to nothing.
    assert!(found.change.abs() < 1e-15);
    let nothing = movers(&[], 5).expect("movers");
    assert_eq!(
        (nothing.previous, nothing.current, nothing.change),
        (0.0, 0.0, 0.0)
    );
    assert!(nothing.change.is_sign_positive());
}

#[test]
fn a_negative_amount_that_rises_has_a_positive_part() {
    let found = movers(&[item("margin", -50.0, -25.0)], 1).expect("movers");
    assert_eq!(found.risers[0].relative, Some(0.5));
    // Nearly nothing before: the part is beyond all numbers.
    let found = movers(&[item("a", 1e-200, 1e150)], 1).expect("movers");
    assert_eq!(found.risers[0].relative, None);
}

#[test]
fn confidence_is_how_many_earlier_changes_were_smaller() {
    let with = |history: &[f64], previous: f64, current: f64| {
        let history = history
            .iter()
            .map(|&value| value.is_finite().then_some(value));
        let items = [Item {
            history: history.collect(),
            ..item("a", previous, current)
        }];
        let found = movers(&items, 1).expect("movers");
        let mover = found
            .risers
            .into_iter()
            .chain(found.fallers)
            .next()
            .expect("a mover");
        (
            mover.smaller,
            mover.earlier,
            mover.confidence().map(|c| c.hundredths()),
        )
    };
    // Changes of 1, 2, 3, 4.
    let history = [10.0, 11.0, 9.0, 12.0];
    assert_eq!(with(&history, 8.0, 13.0), (4, 4, Some(80)));
    assert_eq!(with(&history, 8.0, 3.0), (4, 4, Some(80)));
    assert_eq!(with(&history, 8.0, 12.0), (3, 4, Some(60)));
    assert_eq!(with(&history, 8.0, 8.5), (0, 4, Some(0)));
    assert_eq!(with(&[], 8.0, 13.0), (0, 0, None));
    // A gap takes both changes around it.
    assert_eq!(
        with(&[10.0, f64::NAN, 9.0, 12.0], 8.0, 13.0),
        (2, 2, Some(66))
    );
    // Equal to the last digit but one is not smaller.
    assert_eq!(with(&[0.1, 0.2], 0.3, 0.4), (0, 2, Some(0)));
    let long = vec![1.0; 400];
    assert_eq!(with(&long, 1.0, 2.0), (400, 400, Some(99)));
}

#[test]
fn what_is_refused() {
    let field = |items: &[Item]| refused_field(movers(items, 3));
    assert_eq!(field(&[item("a", 1.0, 2.0), item("a", 1.0, 2.0)]), "name");
    assert_eq!(field(&[item("a", f64::NAN, 2.0)]), "previous");
    assert_eq!(field(&[item("a", 1.0, f64::INFINITY)]), "current");
    assert_eq!(field(&[item("a", 1.0, 1e151)]), "current");
    let mut odd = item("a", 1.0, 2.0);
    odd.history = vec![Some(1.0), Some(f64::NAN)];
    assert_eq!(field(&[odd]), "history");
}

fn any_items() -> impl Strategy<Value = Vec<Item>> {
    let value = || prop::option::of((-1_000_i32..1_000).prop_map(f64::from));
    prop::collection::btree_map("[a-d]{1,3}", (value(), value()), 0..20).prop_map(|items| {
        items
            .into_iter()
            .map(|(name, (previous, current))| item(&name, previous, current))
            .collect()
    })
}

proptest! {
    #[test]
    fn lists_are_in_order_and_shares_add_up(items in any_items()) {
        let found = movers(&items, usize::MAX).expect("movers");
        prop_assert!(found.risers.iter().all(|mover| mover.change > 0.0));
        prop_assert!(found.fallers.iter().all(|mover| mover.change < 0.0));
        prop_assert!(found.risers.is_sorted_by(|a, b| a.change >= b.change));
        prop_assert!(found.fallers.is_sorted_by(|a, b| a.change <= b.change));
        prop_assert_eq!(found.current - found.previous, found.change);
        let all = || found.risers.iter().chain(&found.fallers);
        prop_assert_eq!(all().map(|mover| mover.change).sum::<f64>(), found.change);
        if found.change == 0.0 {
            prop_assert!(all().all(|mover| mover.share.is_none()));
        } else {
            let sum: f64 = all().filter_map(|mover| mover.share).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{}", sum);
        }
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter(
        (items, shuffled) in any_items().prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
        most in 0_usize..5,
    ) {
        prop_assert_eq!(movers(&items, most), movers(&shuffled, most));
    }

    #[test]
    fn the_other_way_round_rises_are_falls(items in any_items(), most in 0_usize..5) {
        let turned: Vec<Item> = items
            .iter()
            .map(|item| Item { previous: item.current, current: item.previous, ..item.clone() })
            .collect();
        let (found, turned) = (movers(&items, most).expect("movers"), movers(&turned, most).expect("movers"));
        prop_assert_eq!(names(&found.risers), names(&turned.fallers));
        prop_assert_eq!(found.change, -turned.change);
    }
}
