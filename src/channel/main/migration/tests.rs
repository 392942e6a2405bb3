use super::MigrationEvent::{Connected, Ended};
use super::*;
use crate::protocol::main::server;

/// What was done, short: message types by client, closed clients, what the host was told.
fn said(actions: &[Action<u8>]) -> String {
    let word = |action: &Action<u8>| match action {
        Action::Send(key, message) => match message.kind {
            server::MIGRATE_BEGIN => format!("begin {key}"),
            server::MIGRATE_BEGIN_SEAMLESS => format!("seamless {key}"),
            server::MIGRATE_CANCEL => format!("cancel {key}"),
            server::MIGRATE_END => format!("end {key}"),
            server::MIGRATE_SWITCH_HOST => format!("switch {key}"),
            kind => format!("{kind} {key}"),
        },
        Action::HandOver(key) => format!("over {key}"),
        Action::Close(key, _) => format!("close {key}"),
        Action::Tell(Connected) => "CONNECTED".to_owned(),
        Action::Tell(Ended) => "ENDED".to_owned(),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn target() -> Destination {
    Destination::new(b"there", Some(1), None, None).unwrap()
}

/// Clients 1 and 2, of which the second cannot prepare.
fn two() -> (Migration<u8>, Instant) {
    let (mut migration, now) = (Migration::new(), Instant::now());
    migration.attached(1, false, Ability::Prepares, now);
    migration.attached(2, false, Ability::BeginsAnew, now);
    (migration, now)
}

#[test]
fn clients_connect_first_and_go_when_the_machine_has_moved() {
    let (mut m, now) = two();
    assert_eq!(said(&m.begin(target(), false, now)), "begin 1");
    assert_eq!(m.deadline(), Some(now + PATIENCE));
    assert_eq!(said(&m.answered(1, Answer::Connected)), "CONNECTED");
    assert_eq!(m.deadline(), None);
    assert_eq!(said(&m.end(true, now)), "end 1, switch 2");
    assert_eq!(said(&m.left(2, now)), "");
    assert_eq!(said(&m.left(1, now)), "ENDED");
    assert_eq!(m.deadline(), None);
}

#[test]
fn without_clients_both_answers_come_at_once() {
    let (mut m, now) = (Migration::<u8>::new(), Instant::now());
    assert_eq!(said(&m.begin(target(), false, now)), "CONNECTED");
    assert_eq!(said(&m.end(true, now)), "ENDED");
    m.attached(2, false, Ability::BeginsAnew, now);
    assert_eq!(said(&m.begin(target(), false, now)), "CONNECTED");
    assert_eq!(said(&m.end(false, now)), "ENDED");
}

#[test]
fn who_does_not_answer_in_time_begins_anew_at_the_target() {
    let (mut m, now) = two();
    m.begin(target(), false, now);
    assert_eq!(said(&m.expire(now + PATIENCE - Duration::from_millis(1))), "");
    assert_eq!(said(&m.expire(now + PATIENCE)), "CONNECTED");
    assert_eq!(said(&m.answered(1, Answer::Connected)), "cancel 1");
    assert_eq!(said(&m.end(true, now)), "switch 1, switch 2");
    assert_eq!(said(&m.expire(now + PATIENCE)), "close 1, close 2, ENDED");
    assert_eq!(said(&m.left(1, now)), "");
}

#[test]
fn a_client_that_failed_or_left_is_waited_for_no_longer() {
    let (mut m, now) = two();
    m.attached(3, false, Ability::Prepares, now);
    assert_eq!(said(&m.begin(target(), false, now)), "begin 1, begin 3");
    assert_eq!(said(&m.answered(1, Answer::Failed)), "");
    assert_eq!(said(&m.answered(1, Answer::Connected)), "cancel 1");
    assert_eq!(said(&m.left(3, now)), "CONNECTED");
    assert_eq!(said(&m.end(true, now)), "switch 1, switch 2");
}

#[test]
fn a_failed_migration_leaves_everybody_here() {
    let (mut m, now) = two();
    m.begin(target(), false, now);
    m.answered(1, Answer::Connected);
    assert_eq!(said(&m.end(false, now)), "cancel 1, ENDED");
    // And again, from the beginning.
    assert_eq!(said(&m.begin(target(), false, now)), "begin 1");
    assert_eq!(said(&m.end(false, now)), "CONNECTED, cancel 1, ENDED");
}

#[test]
fn a_second_connect_replaces_the_first_and_each_has_its_answer() {
    let (mut m, now) = two();
    m.begin(target(), false, now);
    assert_eq!(said(&m.begin(target(), false, now)), "CONNECTED, cancel 1, begin 1");
    assert_eq!(said(&m.answered(1, Answer::Connected)), "CONNECTED");
    m.end(true, now);
    m.attached(4, false, Ability::Prepares, now);
    assert_eq!(said(&m.begin(target(), false, now)), "close 1, close 2, ENDED, begin 4");
}

#[test]
fn a_client_on_its_way_here_is_sent_on_when_it_has_arrived() {
    let (mut m, now) = (Migration::new(), Instant::now());
    m.attached(1, true, Ability::Prepares, now);
    assert!(m.is_arriving(1));
    assert_eq!(said(&m.begin(target(), false, now)), "");
    assert_eq!(said(&m.arrived(1, now)), "begin 1");
    assert!(!m.is_arriving(1));
    assert_eq!(said(&m.answered(1, Answer::Connected)), "CONNECTED");
}

#[test]
fn a_client_that_never_arrives_is_closed_when_the_machine_moves_on() {
    let (mut m, now) = (Migration::new(), Instant::now());
    m.attached(1, true, Ability::Prepares, now);
    m.begin(target(), false, now);
    assert_eq!(said(&m.expire(now + PATIENCE)), "close 1, CONNECTED");
    m.attached(2, true, Ability::Prepares, now);
    m.begin(target(), false, now);
    assert_eq!(said(&m.left(2, now)), "CONNECTED");
}

#[test]
fn answers_out_of_nowhere_are_cancelled_and_ends_are_answered() {
    let (mut m, now) = two();
    assert_eq!(said(&m.answered(1, Answer::Connected)), "cancel 1");
    assert_eq!(said(&m.answered(1, Answer::Failed)), "");
    assert_eq!(said(&m.answered(9, Answer::Connected)), "cancel 9");
    assert_eq!(said(&m.end(true, now)), "ENDED");
    assert_eq!(said(&m.switch(&target())), "switch 1, switch 2");
    assert_eq!(m.deadline(), None);
}

#[test]
fn who_never_leaves_the_old_server_is_closed() {
    let (mut m, now) = (Migration::<u8>::new(), Instant::now());
    let later = now + Duration::from_secs(5);
    m.attached(1, true, Ability::Prepares, now);
    m.attached(2, true, Ability::Prepares, later);
    m.attached(3, false, Ability::Prepares, now);
    assert_eq!(m.deadline(), Some(now + ARRIVING_TIME));
    assert_eq!(said(&m.expire(now + ARRIVING_TIME - Duration::from_secs(1))), "");
    assert_eq!(said(&m.expire(now + ARRIVING_TIME)), "close 1");
    assert_eq!(m.deadline(), Some(later + ARRIVING_TIME));
    // The last one that others wait for.
    let end = later + ARRIVING_TIME;
    m.begin(target(), false, end - Duration::from_secs(1));
    assert_eq!(said(&m.expire(end)), "close 2, begin 3");
}

#[test]
fn one_client_that_can_hands_over_if_the_host_and_the_target_agree() {
    let now = Instant::now();
    let mut m = Migration::new();
    m.attached(1, false, Ability::HandsOver, now);
    assert_eq!(said(&m.begin(target(), true, now)), "seamless 1");
    assert_eq!(said(&m.answered(1, Answer::Seamless)), "CONNECTED");
    assert_eq!(said(&m.end(true, now)), "over 1");
    assert_eq!(m.deadline(), Some(now + PATIENCE));
    assert_eq!(said(&m.left(1, now)), "ENDED");
    // The target does not.
    m.attached(2, false, Ability::HandsOver, now);
    m.begin(target(), true, now);
    assert_eq!(said(&m.answered(2, Answer::Connected)), "CONNECTED");
    assert_eq!(said(&m.end(true, now)), "end 2");
    assert_eq!(said(&m.expire(now + PATIENCE)), "close 2, ENDED");
    // The host does not, or the client cannot any more.
    m.attached(3, false, Ability::HandsOver, now);
    assert_eq!(said(&m.begin(target(), false, now)), "begin 3");
    m.end(false, now);
    m.cannot_hand_over(3);
    assert_eq!(said(&m.begin(target(), true, now)), "begin 3");
    assert_eq!(said(&m.answered(3, Answer::Seamless)), "CONNECTED");
    assert_eq!(said(&m.end(true, now)), "end 3", "it was not asked to");
}

#[test]
fn several_clients_do_not_hand_over_and_a_cancelled_one_stays() {
    let now = Instant::now();
    let mut m = Migration::new();
    m.attached(1, false, Ability::HandsOver, now);
    m.attached(2, false, Ability::HandsOver, now);
    assert_eq!(said(&m.begin(target(), true, now)), "begin 1, begin 2");
    m.left(2, now);
    assert_eq!(said(&m.end(false, now)), "CONNECTED, cancel 1, ENDED");
    assert_eq!(said(&m.begin(target(), true, now)), "seamless 1");
    m.answered(1, Answer::Seamless);
    assert_eq!(said(&m.end(false, now)), "cancel 1, ENDED");
    assert_eq!(said(&m.begin(target(), true, now)), "seamless 1");
}
