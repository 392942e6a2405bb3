//! Clients that come from another server with their surfaces: what they have there they need not be told of, and in the
//! end they have the server's pixels.

use super::*;
use crate::protocol::display::surface_destroy;
use crate::protocol::handover::HandedSurface;

/// The client goes to another server, which has the same surfaces. What it has.
fn move_on(session: &mut Session, runs: bool) -> Vec<HandedSurface> {
    session.drain();
    let has = session.pipe.handover();
    session.pipe = ClientPipe::new(session.limits);
    session.prune_early();
    session.pipe.inherit(runs);
    for (id, canvas) in &session.server.surfaces {
        session.pipe.surface_known(Session::info(*id, canvas));
    }
    session.pipe.inherited_all();
    has
}

fn settle(session: &mut Session, has: &[HandedSurface]) {
    for id in session.pipe.settle_inheritance(has) {
        session.client.take(&surface_destroy(id));
    }
    session.check();
}

fn apply(session: &mut Session, steps: Vec<Step>, reads: bool) {
    for step in steps {
        match step {
            // The model's blends make anything of a difference.
            Step::Draw(Drawable { op: DrawOp::AlphaBlend { .. }, .. }) if session.images.on => {}
            Step::Draw(drawable) => session.draw(drawable),
            Step::Create(id, width, height) => session.create(id, width, height),
            Step::Destroy(id) => session.destroy(id),
            Step::Read(messages) if reads => {
                session.read(messages);
            }
            Step::Drain if reads => session.drain(),
            Step::Read(_) | Step::Drain | Step::Reconnect => {}
        }
        session.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(),
        ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_comes_with_its_surfaces_ends_with_the_servers_pixels(
        limits in any_limits(),
        there in prop::collection::vec(any_step(), 1..25),
        meanwhile in prop::collection::vec(any_step(), 0..25),
        here in prop::collection::vec(any_step(), 0..25),
        runs: bool,
        lossy: bool,
    ) {
        let mut session = Session::new(limits);
        session.images.on = lossy;
        apply(&mut session, there, true);
        let has = move_on(&mut session, runs);
        apply(&mut session, meanwhile, false);
        settle(&mut session, &has);
        apply(&mut session, here, true);
        session.drain();
    }
}

#[test]
fn what_the_client_has_is_not_said_again() {
    let mut session = Session::new(ROOMY);
    session.create(2, 4, 4);
    session.draw(fill(rect(0, 0, 12, 10), 7, 8));
    session.draw(command(0, rect(0, 0, 4, 4), copy(surface_image(2), rect(0, 0, 4, 4))));
    let has = move_on(&mut session, false);
    assert_eq!(has.iter().map(|surface| surface.id).collect::<Vec<_>>(), [0, 2]);
    session.client.messages.clear();
    session.draw(fill(rect(1, 1, 3, 3), 9, 64));
    settle(&mut session, &has);
    session.drain();
    assert_eq!(session.client.messages, [302]);
}

#[test]
fn surfaces_that_come_and_go_before_the_machine_runs_are_the_clients() {
    let mut session = Session::new(ROOMY);
    session.create(2, 4, 4);
    session.draw(command(2, rect(0, 0, 4, 4), copy(filled(4, 4, 9), rect(0, 0, 4, 4))));
    let has = move_on(&mut session, false);
    session.pipe.inherit(false);
    // The reset before a machine is loaded, and what is loaded: the screen alone, and empty.
    for id in [0, 2] {
        session.pipe.surface_destroyed(id);
    }
    let canvas = Canvas::new(12, 10);
    session.pipe.surface_created(Session::info(0, &canvas), false);
    session.server.surfaces.remove(&2);
    session.server.surfaces.insert(0, canvas);
    session.pipe.inherited_all();
    session.client.messages.clear();
    settle(&mut session, &has);
    session.drain();
    assert_eq!(session.client.messages, [315, 304, 304, 304], "no creation");
}

#[test]
fn surfaces_that_the_client_does_not_have_are_told_of_like_any_others() {
    let mut session = Session::new(ROOMY);
    session.create(2, 4, 4);
    session.create(3, 4, 4);
    move_on(&mut session, false);
    session.client = Client::default();
    session.draw(command(0, rect(0, 0, 4, 4), copy(surface_image(2), rect(0, 0, 4, 4))));
    session.destroy(3);
    settle(&mut session, &[]);
    assert!(!session.pipe.is_empty(), "the screen is not waited for");
    session.drain();
    session.draw(command(0, rect(4, 0, 8, 4), copy(surface_image(2), rect(0, 0, 4, 4))));
    session.drain();
    assert!(session.client.messages.contains(&314) && !session.client.messages.contains(&315));
}
