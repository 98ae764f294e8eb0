//! Which write comes next.

use super::{Cause, Key, MAX_KEYS_OF_A_LINE, Need, Plan, Rules, Slots, Stage, Step, earlier, later};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What to do next. A function of its arguments.
#[must_use]
pub fn plan<L: Copy + Ord>(slots: &Slots<L>, rules: &Rules, now: Timestamp) -> Plan<L> {
    let situation = Situation { slots, rules, now };
    match situation.write() {
        Some(step) => Plan { step: Some(step), wake_at: None },
        None => Plan { step: situation.waits_for_replicas().then_some(Step::Gate), wake_at: situation.wake_at() },
    }
}

struct Situation<'a, L> {
    slots: &'a Slots<L>,
    rules: &'a Rules,
    now: Timestamp,
}

impl<L: Copy + Ord> Situation<'_, L> {
    fn write(&self) -> Option<Step<L>> {
        self.revoke()
            .or_else(|| self.activate_where_nothing_signs())
            .or_else(|| self.prepare())
            .or_else(|| self.activate())
            .or_else(|| self.retire())
            .or_else(|| self.confirm())
            .or_else(|| self.remove())
    }

    fn revoke(&self) -> Option<Step<L>> {
        let ids: BTreeSet<String> = self.keys().filter(|key| self.slots.revoked.contains(&key.id)).map(|key| key.id.clone()).collect();
        (!ids.is_empty()).then_some(Step::Revoke(ids))
    }

    /// A wait for verifiers would be an outage that is sure, against one that is possible. The wait for replicas is short.
    fn activate_where_nothing_signs(&self) -> Option<Step<L>> {
        let waiting = self.needed().filter(|line| self.active(*line).is_none());
        waiting.filter_map(|line| self.successor(line)).map(|key| Step::Activate(key.id.clone())).next()
    }

    /// A prepared key that every replica publishes, or the one that signed until its line was not needed.
    fn successor(&self, line: L) -> Option<&Key<L>> {
        let prepared = self.prepared(line).filter(|key| self.slots.seen || key.published_at.is_some()).min_by_key(|key| key.created_at);
        prepared.or_else(|| self.last_retired(line).filter(|_| self.prepared(line).next().is_none()))
    }

    fn last_retired(&self, line: L) -> Option<&Key<L>> {
        let last = self.of(line).filter(|key| key.stage == Stage::Retired).max_by_key(|key| key.activated_at)?;
        last.activated_at.is_some_and(|at| later(at, self.rules.every) > self.now).then_some(last)
    }

    fn prepare(&self) -> Option<Step<L>> {
        let without: BTreeSet<L> = self.needed().filter(|line| self.prepared(*line).next().is_none()).collect();
        let first: BTreeSet<L> =
            without.iter().copied().filter(|line| self.active(*line).is_none() && self.last_retired(*line).is_none()).collect();
        if !first.is_empty() && !self.slots.ordered {
            return Some(Step::Prepare { lines: first, cause: Cause::First });
        }
        if self.slots.ordered {
            return self.follow_order(without);
        }
        let due: BTreeSet<L> = without.into_iter().filter(|line| self.due_at(*line).is_some_and(|at| at <= self.now)).collect();
        (!due.is_empty()).then_some(Step::Prepare { lines: due, cause: Cause::Due })
    }

    /// A line that has a prepared key already gets what is asked for. One without room waits for it.
    fn follow_order(&self, without: BTreeSet<L>) -> Option<Step<L>> {
        if without.is_empty() {
            return Some(Step::Acknowledge);
        }
        let room = without.iter().all(|line| self.of(*line).count() < MAX_KEYS_OF_A_LINE);
        room.then_some(Step::Prepare { lines: without, cause: Cause::Ordered })
    }

    /// When the next key of a line has to be prepared, if nobody asks. By the schedule not while the last one but one is still
    /// published; before the active one ends whatever there is, so early that the gate may take as long as verifiers cache.
    fn due_at(&self, line: L) -> Option<Timestamp> {
        let active = self.active(line)?;
        let activated = active.activated_at.unwrap_or(active.created_at);
        let alone = self.of(line).count() == 1;
        let scheduled = alone.then(|| later(activated, self.rules.every.saturating_sub(self.rules.ahead)));
        let ending = active.signs_until.map(|end| earlier(end, self.rules.ahead.saturating_add(self.rules.ahead)));
        [scheduled, ending].into_iter().flatten().min()
    }

    fn activate(&self) -> Option<Step<L>> {
        let ready = self.keys().filter(|key| self.signs_at(key).is_some_and(|at| at <= self.now));
        ready.min_by_key(|key| (key.published_at.is_none(), key.published_at, key.created_at)).map(|key| Step::Activate(key.id.clone()))
    }

    /// When a prepared key may sign. Where the active one cannot any more it has to, whoever publishes it.
    fn signs_at(&self, key: &Key<L>) -> Option<Timestamp> {
        let active = self.active(key.line).filter(|_| key.stage == Stage::Prepared && !self.is_unneeded(key.line))?;
        let known = key.published_at.map(|at| later(at, self.rules.ahead));
        [known, active.signs_until].into_iter().flatten().min()
    }

    fn retire(&self) -> Option<Step<L>> {
        let over = self.keys().filter(|key| self.unneeded_until(key).is_some_and(|until| until <= self.now));
        over.map(|key| match key.stage {
            Stage::Active | Stage::Retired => Step::Retire(key.id.clone()),
            Stage::Prepared => Step::Remove([key.id.clone()].into()),
        })
        .next()
    }

    /// When a key goes, because nothing needs its line; a retired one goes by itself.
    fn unneeded_until(&self, key: &Key<L>) -> Option<Timestamp> {
        match self.slots.needs.get(&key.line) {
            Some(Need::UnneededSince(since)) if key.stage != Stage::Retired => Some(later(*since, self.rules.ahead)),
            _ => None,
        }
    }

    fn confirm(&self) -> Option<Step<L>> {
        (self.slots.seen && self.keys().any(is_unconfirmed)).then_some(Step::Confirm)
    }

    fn waits_for_replicas(&self) -> bool {
        !self.slots.seen && self.keys().any(is_unconfirmed)
    }

    fn remove(&self) -> Option<Step<L>> {
        let over = self.keys().filter(|key| self.kept_until(key).is_some_and(|until| until <= self.now));
        let ids: BTreeSet<String> = over.map(|key| key.id.clone()).collect();
        (!ids.is_empty()).then_some(Step::Remove(ids))
    }

    fn kept_until(&self, key: &Key<L>) -> Option<Timestamp> {
        (key.stage == Stage::Retired).then_some(later(key.unused_since?, self.rules.keep))
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let keys = self.keys().flat_map(|key| [self.signs_at(key), self.unneeded_until(key), self.kept_until(key)]);
        let lines = self.needed().filter(|line| self.prepared(*line).next().is_none()).map(|line| self.due_at(line));
        keys.chain(lines).flatten().min()
    }

    fn needed(&self) -> impl Iterator<Item = L> {
        self.slots.needs.iter().filter(|(_, need)| **need == Need::Needed).map(|(line, _)| *line)
    }

    fn is_unneeded(&self, line: L) -> bool {
        matches!(self.slots.needs.get(&line), Some(Need::UnneededSince(_)))
    }

    fn keys(&self) -> impl Iterator<Item = &Key<L>> {
        self.slots.keys.iter()
    }

    fn of(&self, line: L) -> impl Iterator<Item = &Key<L>> {
        self.keys().filter(move |key| key.line == line)
    }

    fn active(&self, line: L) -> Option<&Key<L>> {
        self.of(line).find(|key| key.stage == Stage::Active)
    }

    fn prepared(&self, line: L) -> impl Iterator<Item = &Key<L>> {
        self.of(line).filter(|key| key.stage == Stage::Prepared)
    }
}

/// Whether it is not known yet that all replicas have seen what became of it.
fn is_unconfirmed<L>(key: &Key<L>) -> bool {
    match key.stage {
        Stage::Prepared => key.published_at.is_none(),
        Stage::Retired => key.unused_since.is_none(),
        Stage::Active => false,
    }
}
