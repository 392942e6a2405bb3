//! The bell of a reactor; `tests/loom.rs` has the model.

use super::wake::Bell;

#[test]
fn a_call_is_noticed_once_and_costs_the_kernel_only_in_sleep() {
    let bell = Bell::default();
    assert!(!bell.ring(), "awake: it looks by itself");
    assert!(!bell.lie_down());
    assert!(bell.get_up());
    assert!(!bell.get_up());
    assert!(bell.lie_down());
    assert!(bell.ring());
    assert!(!bell.ring(), "the first call is enough");
    assert!(bell.get_up());
}
