//! What the proxy knows: its rules, the calls that came, and the watches that are open.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::call::{Call, Calls};
use super::rule::{Fault, Rule, RuleId, Turn};

/// What an open watch lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Passing,
    Silent,
    Expired,
}

struct OpenWatch {
    call: Call,
    silenced_by: BTreeSet<RuleId>,
    flow: watch::Sender<Flow>,
}

impl OpenWatch {
    /// An expired watch is about to end: nothing silences or revives it.
    fn change(&self, from: Flow, to: Flow) {
        self.flow.send_if_modified(|flow| *flow == from && std::mem::replace(flow, to) == from);
    }
}

/// What silences watches.
struct Silence {
    id: RuleId,
    calls: Calls,
    /// The last call that had arrived when it was made. Later ones are a matter of rules.
    last: u64,
}

#[derive(Default)]
pub(super) struct State {
    calls: u64,
    rules_made: u64,
    rules: Vec<Rule>,
    log: BTreeMap<u64, Call>,
    watches: BTreeMap<u64, OpenWatch>,
    silences: Vec<Silence>,
}

impl State {
    pub(super) fn log(&self) -> impl Iterator<Item = &Call> {
        self.log.values()
    }

    pub(super) fn clear_log(&mut self) {
        self.log.clear();
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// Notes a call that came, and finds the rule that it meets.
    pub(super) fn arrive(&mut self, call: Call) -> Option<(RuleId, Fault)> {
        // Every rule counts, also those that come too late for this call.
        let mut applying: Vec<&Rule> = Vec::new();
        for rule in &mut self.rules {
            if rule.applies(&call) {
                applying.push(rule);
            }
        }
        let met = applying.first().map(|rule| (rule.id, rule.fault.clone()));
        self.log.insert(call.number, call);
        met
    }

    pub(super) fn forwarded(&mut self, number: u64) {
        if let Some(call) = self.log.get_mut(&number) {
            call.forwarded = true;
        }
    }

    pub(super) fn answered(&mut self, number: u64, status: u16) {
        if let Some(call) = self.log.get_mut(&number) {
            call.status = Some(status);
        }
    }

    pub(super) fn add(&mut self, calls: Calls, turn: Turn, fault: Fault) -> RuleId {
        let silences_all = matches!((&fault, turn), (Fault::Silence, Turn::Every));
        let id = self.next_rule();
        if silences_all {
            self.silence(id, &calls);
        }
        self.rules.push(Rule { id, calls, turn, fault, seen: 0 });
        id
    }

    /// Goes before all other rules.
    pub(super) fn black_hole(&mut self) -> RuleId {
        let id = self.next_rule();
        self.silence(id, &Calls::default());
        self.rules.insert(0, Rule { id, calls: Calls::default(), turn: Turn::Every, fault: Fault::Hang, seen: 0 });
        id
    }

    pub(super) fn remove(&mut self, id: RuleId) {
        self.rules.retain(|rule| rule.id != id);
        self.silences.retain(|silence| silence.id != id);
        for watch in self.watches.values_mut() {
            if watch.silenced_by.remove(&id) && watch.silenced_by.is_empty() {
                watch.change(Flow::Silent, Flow::Passing);
            }
        }
    }

    pub(super) fn remove_all(&mut self) {
        let silencing = self.silences.iter().map(|silence| silence.id);
        let ids: BTreeSet<RuleId> = self.rules.iter().map(|rule| rule.id).chain(silencing).collect();
        ids.into_iter().for_each(|id| self.remove(id));
    }

    pub(super) fn silence_open_watches(&mut self, calls: &Calls) -> RuleId {
        let id = self.next_rule();
        self.silence(id, calls);
        id
    }

    pub(super) fn expire_open_watches(&mut self, calls: &Calls) {
        for watch in self.watches.values().filter(|watch| calls.includes(&watch.call)) {
            watch.flow.send_replace(Flow::Expired);
        }
    }

    pub(super) fn open_watches(&self, calls: &Calls) -> usize {
        self.watches.values().filter(|watch| calls.includes(&watch.call)).count()
    }

    /// Notes a watch that has been opened, and tells it what to let through from now on.
    pub(super) fn open(&mut self, call: Call, fault: Option<(RuleId, Fault)>) -> watch::Receiver<Flow> {
        let (mut flow, mut silenced_by) = match fault {
            // The rule may have been removed while the API server was asked.
            Some((id, Fault::Silence)) if self.rules.iter().any(|rule| rule.id == id) => (Flow::Silent, BTreeSet::from([id])),
            Some((_, Fault::Expire)) => (Flow::Expired, BTreeSet::new()),
            _ => (Flow::Passing, BTreeSet::new()),
        };
        // One that was being opened when it was to be silent.
        let made_since = self.silences.iter().filter(|silence| call.number <= silence.last && silence.calls.includes(&call));
        silenced_by.extend(made_since.map(|silence| silence.id));
        if flow == Flow::Passing && !silenced_by.is_empty() {
            flow = Flow::Silent;
        }
        let (flow, changes) = watch::channel(flow);
        self.watches.insert(call.number, OpenWatch { call, silenced_by, flow });
        changes
    }

    pub(super) fn close(&mut self, number: u64) {
        self.watches.remove(&number);
    }

    fn next_rule(&mut self) -> RuleId {
        self.rules_made += 1;
        RuleId(self.rules_made)
    }

    fn silence(&mut self, id: RuleId, calls: &Calls) {
        self.silences.push(Silence { id, calls: calls.clone(), last: self.calls });
        for watch in self.watches.values_mut().filter(|watch| calls.includes(&watch.call)) {
            watch.silenced_by.insert(id);
            watch.change(Flow::Passing, Flow::Silent);
        }
    }
}
