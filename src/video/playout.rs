//! When a client is to show a frame.
//!
//! Stock clients show a frame when their clock has its time, and throw away a JPEG that comes later than that
//! (spice-gtk, `channel-display-mjpeg.c`). Their clock is ours of the moment when the main channel told it, so a frame
//! that bears the time at which the guest gave it is late by its coding and its way. Therefore a *lead* is added, as
//! small as the client's reports allow. While sound plays a client's clock is that of the sound, which is behind by what it
//! has buffered: frames come early then, and a lead would only put them behind the sound that belongs to them. So there is
//! none when sound begins; one that reports ask for all the same keeps a film going on a slow link.
#![forbid(unsafe_code)]

/// The lead before a client has said anything: on fast and on slow links.
const FIRST: u32 = 60;
const FIRST_SLOW: u32 = 200;
/// For clients that never say anything.
const BLIND: u32 = 120;
/// Most milliseconds of it.
const MOST: u32 = 1500;
/// What a frame should have in hand when it arrives, and more than which is too much.
const IN_HAND: i32 = 20;
const TOO_MUCH: i32 = 60;
/// Reports in a row with too much in hand before the lead is shortened.
const CALM: u32 = 4;

/// A client's lead.
#[derive(Debug, Clone, Copy)]
pub struct Playout {
    lead: u32,
    calm: u32,
    /// Least time in hand of the reports in a row.
    least: i32,
    /// The lead without sound.
    first: u32,
    /// Sound is the client's clock.
    hears: bool,
}

impl Playout {
    /// Of a client that says how its streams go, or not; with a slow link, or not.
    #[must_use]
    pub fn new(reports: bool, slow: bool) -> Self {
        let lead = if slow {
            FIRST_SLOW
        } else if reports {
            FIRST
        } else {
            BLIND
        };
        Self { lead, calm: 0, least: i32::MAX, first: lead, hears: false }
    }

    /// Whether sound is the client's clock now.
    pub fn set_hears(&mut self, hears: bool) {
        if std::mem::replace(&mut self.hears, hears) != hears {
            self.lead = if hears { 0 } else { self.first };
            (self.calm, self.least) = (0, i32::MAX);
        }
    }

    /// Milliseconds that a frame's time is put off.
    #[must_use]
    pub fn lead(&self) -> u32 {
        self.lead
    }

    /// A frame's time for this client, milliseconds; never 0, which clients take for none.
    #[must_use]
    pub fn time(&self, time: u32) -> u32 {
        time.wrapping_add(self.lead).max(1)
    }

    /// The client says with how much time in hand its last frame came, milliseconds, and how many were dropped.
    pub fn report(&mut self, in_hand: i32, drops: u32) {
        // A client may say anything: what is out of all proportion is not believed.
        if !(-10_000..=10_000).contains(&in_hand) {
            return;
        }
        if in_hand < IN_HAND / 2 || drops > 0 {
            let more = (IN_HAND - in_hand).max(if drops > 0 { IN_HAND / 2 } else { 0 });
            self.lead = self.lead.saturating_add(u32::try_from(more).unwrap_or(0)).min(MOST);
            (self.calm, self.least) = (0, i32::MAX);
            return;
        }
        if in_hand <= TOO_MUCH {
            (self.calm, self.least) = (0, i32::MAX);
            return;
        }
        self.calm += 1;
        self.least = self.least.min(in_hand);
        if self.calm >= CALM {
            let less = u32::try_from((self.least - IN_HAND) / 2).unwrap_or(0);
            self.lead = self.lead.saturating_sub(less);
            (self.calm, self.least) = (0, i32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client at which frames come so many milliseconds after their time without a lead.
    fn settle(late: &[i32], reports: usize) -> Playout {
        let mut playout = Playout::new(true, false);
        for late in late.iter().cycle().take(reports) {
            let in_hand = i32::try_from(playout.lead()).unwrap() - late;
            playout.report(in_hand, u32::from(in_hand < 0));
        }
        playout
    }

    #[test]
    fn the_lead_is_what_the_way_takes_and_a_little_more() {
        for late in [5, 30, 100, 400] {
            let lead = i32::try_from(settle(&[late], 200).lead()).unwrap();
            assert!((late + IN_HAND / 2..=late + TOO_MUCH).contains(&lead), "{late}: {lead}");
        }
        let lead = settle(&[10, 60, 20, 15, 30], 200).lead();
        assert!((70..=120).contains(&lead), "{lead}");
        // Frames belong to the sound from its beginning on; afterwards the client's clock is another one.
        let mut playout = Playout::new(true, false);
        playout.set_hears(true);
        assert_eq!(playout.lead(), 0);
        playout.report(-30, 1);
        assert_eq!(playout.lead(), 50);
        playout.set_hears(true);
        assert_eq!(playout.lead(), 50);
        playout.set_hears(false);
        assert_eq!(playout.lead(), FIRST);
        // With sound the client's clock is behind by far more than the way takes.
        assert_eq!(settle(&[-300], 200).lead(), 0);
    }

    #[test]
    fn absurd_reports_change_little_and_no_time_is_none() {
        let mut playout = Playout::new(true, true);
        for absurd in [i32::MIN, i32::MAX, -10_001, 10_001] {
            playout.report(absurd, u32::MAX);
        }
        assert_eq!(playout.lead(), FIRST_SLOW);
        for _ in 0..1000 {
            playout.report(-10_000, 9);
        }
        assert_eq!(playout.lead(), MOST);
        assert_eq!(playout.time(0u32.wrapping_sub(MOST)), 1);
        assert_eq!(Playout::new(false, false).time(5), 125);
    }
}
