//! Random histories: drawn from a seed, run against the model, shortened when they break a law.

use crate::{
    core::{Core, Edit},
    laws::Broken,
    leader::Config,
    undone::Undone,
    world::{Act, Event, Network, REPLICAS, World},
};
use jiff::SignedDuration;
use keywright::domain::rotation::{Retirement, Rules, Schedule};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// When histories begin.
pub const START: i64 = 1_000_000_000;

/// All that a seed decides.
#[derive(Debug, Clone)]
pub struct History {
    pub config: Config,
    /// Whether a Secret of an earlier installation is there.
    pub earlier: bool,
    pub events: Vec<Event>,
}

impl History {
    pub fn draw(seed: u64, undone: &'static [Undone]) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let skew = if random.random_bool(0.3) { 8_000 } else { 0 };
        let config = Config { rules: rules(&mut random), skew, undone };
        let length = random.random_range(20..160);
        let events = (0..length).map(|_| event(&mut random)).collect();
        Self { config, earlier: random.random_bool(0.05), events }
    }

    /// Runs it. The number of the event that broke a law, and which.
    pub fn run(&self) -> Result<(), (usize, Broken)> {
        let core = if self.earlier { Core::with_earlier_secret(START) } else { Core::new(START) };
        let mut world = World::new(self.config, core);
        for (number, event) in self.events.iter().enumerate() {
            world.apply(*event).map_err(|broken| (number, broken))?;
        }
        world.settle().map_err(|broken| (self.events.len(), broken))
    }

    /// What happens in it, and what is stored after each event.
    pub fn tell(&self) -> String {
        let core = if self.earlier { Core::with_earlier_secret(START) } else { Core::new(START) };
        let mut world = World::new(self.config, core);
        let mut told = format!("{:?}\n", self.config);
        for event in &self.events {
            let broken = world.apply(*event).err().unwrap_or_default();
            told += &format!("{event:?}\n    {} {broken}\n", world.core.tell());
        }
        told
    }

    /// The same failure with as few events as leaving some out gives.
    pub fn shrink(mut self) -> (Self, Broken) {
        let Err((last, mut broken)) = self.run() else { panic!("this history keeps the laws") };
        self.events.truncate(last + 1);
        let mut chunk = self.events.len().max(1);
        while chunk > 0 {
            let mut start = 0;
            while start < self.events.len() {
                let mut shorter = self.clone();
                shorter.events.drain(start..(start + chunk).min(self.events.len()));
                match shorter.run() {
                    Err((_, why)) => (self, broken) = (shorter, why),
                    Ok(()) => start += chunk,
                }
            }
            chunk /= 2;
        }
        (self, broken)
    }
}

/// Runs so many histories from a first seed on. The first that breaks a law: its seed, shortened, and the law.
pub fn first_broken(first: u64, count: u64, undone: &'static [Undone]) -> Option<(u64, History, Broken)> {
    let seed = (first..first + count).find(|seed| History::draw(*seed, undone).run().is_err())?;
    let (history, broken) = History::draw(seed, undone).shrink();
    Some((seed, history, broken))
}

fn rules(random: &mut SmallRng) -> Rules {
    let overlap = SignedDuration::from_secs(60);
    let quiet = SignedDuration::from_secs(20);
    let rules = Rules { overlap, quiet, ..Rules::default() };
    let schedule = Schedule {
        every: SignedDuration::from_secs(100),
        since: crate::server::time(START),
        watched_from: crate::server::time(START),
        jitter: SignedDuration::from_secs(3),
    };
    let longest_rehearsal = Some(SignedDuration::from_secs(200));
    match random.random_range(0..5) {
        0 => rules,
        1 => Rules { max_overlap: Some(SignedDuration::from_secs(90)), ..rules },
        4 => Rules { max_overlap: Some(SignedDuration::from_secs(90)), longest_rehearsal, ..rules },
        2 => Rules { retirement: Retirement::AfterOverlap, schedule: Some(schedule), ..rules },
        _ => Rules { retirement: Retirement::AfterOverlap, ..rules },
    }
}

fn event(random: &mut SmallRng) -> Event {
    let who = random.random_range(0..2);
    match random.random_range(0..100) {
        0..40 => Event::Lead { who, cache: cache(random), network: network(random) },
        40..48 => Event::Work { who, calls: random.random_range(1..16), together: random.random() },
        48..51 => Event::Crash(who),
        51..55 => Event::Arrive(random.random()),
        55..63 => Event::User(edit(random)),
        63..91 => Event::Replica(random.random_range(0..u8::try_from(REPLICAS).unwrap()), act(random)),
        91..99 => Event::Pass(*pick(random, &[100, 1_000, 3_000, 6_000, 11_000, 16_000, 31_000, 61_000])),
        _ => Event::LeaderClock { who, skew: random.random_range(-4_000..=4_000) },
    }
}

fn cache(random: &mut SmallRng) -> u8 {
    if random.random_bool(0.7) { 0 } else { random.random() }
}

fn network(random: &mut SmallRng) -> Network {
    match random.random_range(0..10) {
        0..6 => Network::Delivers,
        6 => Network::LosesReply,
        7..9 => Network::Delays,
        _ => Network::LosesRequest,
    }
}

fn edit(random: &mut SmallRng) -> Edit {
    match random.random_range(0..23) {
        0..5 => Edit::Delete,
        5..8 => Edit::Overwrite,
        8..13 => Edit::Restore { which: random.random(), fence: random.random() },
        13 => Edit::Unfence,
        14..19 => Edit::Order,
        19..22 => Edit::Rehearse { long: random.random() },
        _ => Edit::Revoke,
    }
}

fn act(random: &mut SmallRng) -> Act {
    match random.random_range(0..34) {
        0 | 1 => Act::Start,
        2 => Act::Stop,
        3..5 => Act::BeginRenewal,
        5 => Act::StoreRenewal,
        6..9 => Act::EndRenewal { answered: random.random_bool(0.8) },
        9..11 => Act::BeginList,
        11..13 => Act::EndList,
        13 => Act::Watch,
        14 => Act::CheckHead,
        15..22 => Act::Beat,
        22 => Act::Cut,
        23 => Act::Mend,
        24 => Act::Unready,
        25 => Act::Ready,
        26..28 => Act::Receive(random.random()),
        28..30 => Act::Respond,
        30 => Act::Watch,
        31 => Act::Leave,
        32 => Act::Suspend(*pick(random, &[1_000, 5_000, 11_000, 20_000])),
        _ => Act::Clock(random.random_range(-4_000..=4_000)),
    }
}

fn pick<'a, T>(random: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}
