//! The API server has too much to do and answers 429 for a while: nobody asks it more than once a second for the same object, and what
//! piled up is made up for in moments (F10).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::cluster::proxy::{Call, Calls, Proxy, RuleId, When, calls};
use crate::cluster::{ControlPlane, eventually, in_time};
use crate::deeds::share_out;
use crate::operator::{Operator, SOON, Setup};
use crate::rotated::credentials_of;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// For so long.
const BUSY: Duration = Duration::from_secs(20);
/// Until the operator sees that it is over, which takes two seconds at most, and all is made up for: two to eight on two busy cores. Left
/// to the retries of each object it was seventeen.
const MOMENTS: Duration = Duration::from_secs(12);
/// What the first retry waits for, less what a call may be late or early.
const A_SECOND: Duration = Duration::from_millis(950);
const CLIENTS: usize = 20;

/// An installation behind a proxy, with clients that were there before.
struct Place<'cluster> {
    teams: Teams<'cluster>,
    proxy: Proxy,
    before: Vec<Credentials>,
}

fn client(name: &str) -> String {
    WORKER.replace("name: worker", &format!("name: {name}"))
}

fn names(prefix: &str) -> Vec<String> {
    (1..=CLIENTS).map(|number| format!("{prefix}-{number}")).collect()
}

impl<'cluster> Place<'cluster> {
    async fn set(operator: &'cluster Operator<'cluster>) -> Self {
        let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
        operator.start(operator.first(), proxy.kubeconfig());
        operator.first().ready().await;
        let teams = Teams::served_by(operator).await;
        teams.apply(&INVOICES.replace("clients: [worker], ", "")).await;
        let mut place = Self { teams, proxy, before: Vec::new() };
        place.before = place.all_have_secrets("former").await;
        place
    }

    /// Applies so many clients, unless they are there, and waits until each has its Secret.
    async fn all_have_secrets(&self, prefix: &str) -> Vec<Credentials> {
        let names = names(prefix);
        self.teams.apply(&names.iter().map(|name| client(name)).collect::<Vec<_>>().join("---")).await;
        let mut credentials = Vec::new();
        for name in names {
            credentials.push(self.teams.operator.credentials(&self.teams.billing, &name).await);
        }
        credentials
    }

    /// Waits until such calls have been refused for a while, and lets them pass again.
    async fn busy(&self, calls: Calls, answer: fn(When<'_>) -> RuleId) -> Vec<Call> {
        let rule = answer(self.proxy.when(calls.clone()));
        self.proxy.clear_log();
        // At once: where nobody leads any more, in a few seconds, none is asked for again.
        let former = names("former");
        join_all(former.iter().map(|name| self.teams.order_of(name, "now"))).await;
        self.teams.apply(&names("new").iter().map(|name| client(name)).collect::<Vec<_>>().join("---")).await;
        let refused = || self.proxy.log().into_iter().filter(|call| calls.includes(call)).collect::<Vec<_>>();
        let look = async || match refused().first().map(|call| call.at.elapsed()) {
            Some(elapsed) if elapsed >= BUSY => Ok(()),
            elapsed => Err(format!("{elapsed:?}")),
        };
        eventually(SOON, "the API server was busy for a while", look).await.unwrap();
        let refused = refused();
        self.proxy.remove(rule);
        assert!(refused.iter().all(|call| !call.forwarded));
        refused
    }

    /// Every client is as if nothing had happened.
    async fn made_up_for(&self) {
        self.all_have_secrets("new").await;
        for (name, former) in names("former").iter().zip(&self.before) {
            let client = self.teams.operator.client_is(&self.teams.billing, name, "Overlapping").await;
            let states: Vec<_> = credentials_of(&client).into_iter().map(|known| known.state).collect();
            assert!(states.len() == 2 && states.contains(&"Current".to_owned()), "{states:?}");
            let now = Credentials::read(&self.teams.kube, &self.teams.billing, name).await;
            assert_ne!(now.get("client-secret"), former.get("client-secret"));
        }
    }
}

/// The calls for the same object, one after the other.
fn assert_at_most_one_a_second(refused: &[Call]) {
    let mut objects: BTreeMap<_, Vec<Instant>> = BTreeMap::new();
    for call in refused.iter().filter(|call| call.name.is_some()) {
        let resource = call.resource.split('/').next().unwrap_or_default();
        objects.entry((resource.to_owned(), call.name.clone())).or_default().push(call.at);
    }
    let too_soon = |times: &[Instant]| times.windows(2).any(|pair| pair[1] - pair[0] < A_SECOND);
    let hasty: Vec<_> = objects.iter().filter(|(_, times)| too_soon(times)).map(|(object, times)| (object, times.len())).collect();
    assert!(hasty.is_empty(), "{hasty:?}");
    // Each was asked for, and asked for again.
    assert!(objects.values().filter(|times| times.len() > 2).count() >= CLIENTS, "{objects:?}");
}

/// Whether somebody leads meanwhile, what is refused, and how. Leases have a flow of their own (priority and fairness).
type Way = (bool, fn() -> Calls, fn(When<'_>) -> RuleId);

const WAYS: [Way; 4] = [
    (false, || calls().mutating(), |rule| rule.answer(429)),
    // Nothing is read either.
    (false, calls, |rule| rule.answer(429)),
    (true, || calls().mutating().except("leases"), |rule| rule.answer(429)),
    (true, || calls().patch().of("secrets"), |rule| rule.answer_without_retry_after(429)),
];

/// F10. A second try has an installation of its own, whose number nobody else has.
async fn busy_for_a_while(operator: &Operator<'_>, number: usize, (is_led, calls, answer): Way) {
    let mut tries = 0;
    let made_up_for = async || {
        let another = (tries > 0).then(|| operator.sibling(number + tries * WAYS.len()));
        tries += 1;
        let operator = another.as_ref().unwrap_or(operator);
        let place = Place::set(operator).await;
        let terms = operator.terms_over();
        let refused = place.busy(calls(), answer).await;
        if is_led && operator.terms_over() > terms {
            println!("a leader that begins knows of no call that was refused: once more");
            return (2 * MOMENTS, ());
        }
        assert_at_most_one_a_second(&refused);
        let begun = keywright::ambient::boot_time();
        place.made_up_for().await;
        let took = keywright::ambient::boot_time() - begun;
        println!("{} calls were refused; {took:?} until all was made up for", refused.len());
        if took > MOMENTS {
            println!("{}", operator.logs());
        }
        (took, ())
    };
    in_time(MOMENTS, "what piled up is made up for", made_up_for).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_busy_each_object_is_tried_once_a_second_at_most() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let siblings = (1..=WAYS.len()).map(|number| operator.sibling(number)).collect();
    let run = async |sibling: &Operator<'_>, ways: Vec<(usize, Way)>| {
        for (number, way) in ways {
            busy_for_a_while(sibling, number, way).await;
        }
    };
    share_out((1..).zip(WAYS).collect(), siblings, run).await;
}
