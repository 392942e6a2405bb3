//! Every use is found where it is, whatever the surface's shape.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Add(Rect),
    Remove(usize),
    Visit(Rect),
    Walk(Rect, usize),
}

fn any_area(width: i32, height: i32) -> impl Strategy<Value = Rect> {
    (0..width, 0..height, 0..=width, 0..=height).prop_map(|(left, top, right, bottom)| Rect {
        top,
        left,
        bottom,
        right,
    })
}

fn any_steps() -> impl Strategy<Value = ((u32, u32), Vec<Step>)> {
    let sides = prop_oneof![(1..400i32, 1..300i32), (1..4i32, 5000..90_000i32)];
    sides.prop_flat_map(|(width, height)| {
        let small = (0..width, 0..height, 1..9i32, 1..9i32).prop_map(move |(x, y, w, h)| {
            let (right, bottom) = ((x + w).min(width), (y + h).min(height));
            Rect { top: y, left: x, bottom, right }
        });
        let area = prop_oneof![small, any_area(width, height)].boxed();
        let step = prop_oneof![
            4 => area.clone().prop_map(Step::Add),
            1 => any::<usize>().prop_map(Step::Remove),
            1 => area.clone().prop_map(Step::Visit),
            1 => (area, 0..4usize).prop_map(|(area, every)| Step::Walk(area, every)),
        ];
        let size = (width.unsigned_abs(), height.unsigned_abs());
        (Just(size), prop::collection::vec(step, 1..80))
    })
}

fn meet(a: &Rect, b: &Rect) -> bool {
    !a.intersect(b).is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500,
        ..ProptestConfig::default() })]

    #[test]
    fn every_use_is_found_where_it_is_and_nowhere_else((size, steps) in any_steps()) {
        let mut index = Index::default();
        index.surface_created(1, size, true);
        let mut twin: Vec<(usize, Rect)> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Add(area) => {
                    number += 1;
                    index.add(1, number as u64, number, area, false);
                    // Every third command uses a second area of the same surface.
                    twin.push((number, area));
                    if number % 3 == 0 {
                        let other = Rect { right: area.right.min(area.left + 1), ..area };
                        index.add(1, number as u64, number, other, false);
                        twin.push((number, other));
                    }
                }
                Step::Remove(nth) if !twin.is_empty() => {
                    let (number, area) = twin.remove(nth % twin.len());
                    index.remove(1, number as u64, &area, false);
                }
                Step::Remove(_) => {}
                Step::Visit(area) => {
                    let mut found = Vec::new();
                    index.visit(1, &area, |slot| {
                        found.push(slot);
                        true
                    });
                    found.sort_unstable();
                    found.dedup();
                    let mut want: Vec<usize> = twin.iter().filter(|(_, a)| meet(a, &area))
                        .map(|(number, _)| *number).collect();
                    want.dedup();
                    prop_assert_eq!(found, want);
                }
                Step::Walk(area, every) => {
                    let mut walk = index.walk_back(1, area);
                    let mut want: Vec<usize> = twin.iter().filter(|(_, a)| meet(a, &area))
                        .map(|(number, _)| *number).collect();
                    want.dedup();
                    let mut n = 0;
                    while let Some(slot) = walk.next(&index) {
                        prop_assert_eq!(Some(slot), want.pop());
                        n += 1;
                        if every > 0 && n % every == 0 {
                            let gone = slot;
                            for (_, area) in twin.extract_if(.., |(number, _)| *number == gone) {
                                index.remove(1, gone as u64, &area, false);
                            }
                        }
                    }
                    prop_assert!(want.is_empty());
                    index.walked(walk);
                }
            }
        }
        for (number, area) in twin {
            index.remove(1, number as u64, &area, false);
        }
        let uses = &index.surfaces[&1];
        prop_assert_eq!((uses.areas, uses.counts), (0, [0; LEVELS]));
        prop_assert!(uses.lists.iter().all(List::is_empty));
    }
}

#[test]
fn a_surface_that_is_gone_stays_known_while_a_command_reads_it() {
    let mut index = Index::default();
    let area = Rect { top: 0, left: 0, bottom: 4, right: 4 };
    index.surface_created(1, (8, 8), false);
    index.add(1, 5, 0, area, true);
    assert!(index.is_read(1));
    index.surface_destroyed(1);
    assert_eq!(index.visit(1, &area, |_| true), 1);
    index.remove(1, 5, &area, true);
    assert!(index.surfaces.is_empty());
}

#[test]
fn lists_give_their_memory_back() {
    let mut index = Index::default();
    let area = Rect { top: 0, left: 0, bottom: 1, right: 1 };
    index.surface_created(1, (1000, 1000), true);
    (0..10_000).for_each(|n| index.add(1, n, 0, area, false));
    (0..9_990).for_each(|n| index.remove(1, n, &area, false));
    let kept: usize = index.surfaces[&1].lists.iter().map(List::capacity).sum();
    assert!(kept <= 2 * KEPT, "{kept}");
}
