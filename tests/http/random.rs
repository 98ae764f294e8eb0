//! H07 in small: requests of chance through the whole router. None panics, none is a 5xx, and none gets a token by chance.

use crate::fixture::{InContact, Replica, SECRET, basic};
use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, header},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

const REQUESTS: u32 = 100_000;

const METHODS: [Method; 4] = [Method::POST, Method::GET, Method::HEAD, Method::OPTIONS];
const PATHS: [&str; 9] = [
    "/oauth2/token",
    "/oauth2/introspect",
    "/oauth2/revoke",
    "/oauth2/probe",
    "/oauth2/token?client_id=x",
    "/oauth2/jwks",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/%00/..%2f",
];
const NAMES: [&str; 14] = [
    "token",
    "grant_type",
    "scope",
    "resource",
    "audience",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "authorization_details",
    "protected_resource",
    "sc%6fpe",
    "scope[0]",
    "",
];
const VALUES: [&str; 14] = [
    "client_credentials",
    "password",
    "invoices.read",
    "invoices.read+shared",
    "++",
    "https://invoices.shop.svc",
    "/x%23",
    "billing.worker",
    "billing.several",
    "%zz",
    "%00",
    "%C3%A9",
    "%ff",
    "",
];

fn bytes(random: &mut StdRng, most: usize) -> Vec<u8> {
    (0..random.random_range(0..=most)).map(|_| random.random()).collect()
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from.choose(random).unwrap().clone()
}

/// Mostly nearly right, so that chance gets past the first check.
fn body(random: &mut StdRng) -> Vec<u8> {
    if random.random_bool(0.1) {
        return bytes(random, 200);
    }
    let mut fields = vec!["grant_type=client_credentials".to_owned()];
    fields.extend((0..random.random_range(0..4)).map(|_| format!("{}={}", pick(random, &NAMES), pick(random, &VALUES))));
    let mut body = fields.join("&").into_bytes();
    if random.random_bool(0.2) {
        let place = random.random_range(0..body.len());
        body[place] = random.random();
    }
    body
}

fn authorization(random: &mut StdRng) -> Option<HeaderValue> {
    match random.random_range(0..6) {
        0 => None,
        1 => HeaderValue::from_bytes(&bytes(random, 40)).ok(),
        2 => HeaderValue::from_bytes(&[b"Basic ", bytes(random, 40).as_slice()].concat()).ok(),
        3 => Some(HeaderValue::from_static(basic("billing.worker", "wrong").1)),
        _ => {
            let client = pick(random, &["billing.worker", "billing.several", "billing.disabled"]);
            Some(HeaderValue::from_static(basic(client, SECRET).1))
        }
    }
}

fn request(random: &mut StdRng) -> Request<Body> {
    let method = if random.random_bool(0.9) { Method::POST } else { pick(random, &METHODS) };
    let path = if random.random_bool(0.8) { PATHS[0] } else { pick(random, &PATHS) };
    let mut request = Request::builder().method(method).uri(path);
    if random.random_bool(0.95) {
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    } else if let Ok(value) = HeaderValue::from_bytes(&bytes(random, 30)) {
        request = request.header(header::CONTENT_TYPE, value);
    }
    if let Some(value) = authorization(random) {
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Body::from(body(random))).unwrap()
}

/// H07, S16.
#[tokio::test]
async fn a_hundred_thousand_requests_of_chance_bring_no_5xx_and_no_panic() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let replica = Replica::probing(InContact::Yes);
    let mut issued = 0;
    for number in 0..REQUESTS {
        let answer = replica.ask(request(&mut random)).await;
        assert!(answer.status.as_u16() < 500, "request {number} of seed {seed}: {answer:?}");
        issued += u32::from(answer.body.starts_with(b"{\"access_token\""));
    }
    assert!(issued > REQUESTS / 100, "only {issued} of {REQUESTS} requests got as far as a token: chance is too blind");
}
