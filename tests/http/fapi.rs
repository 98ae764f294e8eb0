//! Clients of the FAPI 2.0 Security Profile: J12, and J02 and J07 as they are for them.

use crate::{
    fixture::{ISSUER, unauthorized},
    private_key_jwt::{follow, now},
    signer::{Signer, ask, replica, usual},
};
use keywright::domain::{client::AssertionProfile, resource::Algorithm};
use serde_json::json;

/// J02: FAPI 2.0 Security Profile §5.3.2.1, a string and nothing else. What was refused may be sent again, corrected.
#[tokio::test]
async fn a_fapi_client_writes_the_issuer_as_a_string() {
    let (replica, signer) = usual();
    follow(&replica, AssertionProfile::Fapi2);
    for audience in [json!([ISSUER]), json!([ISSUER, ISSUER]), json!(format!("{ISSUER}/oauth2/token")), json!([])] {
        let assertion = signer.assertion(&json!({"aud": audience, "jti": "once"}));
        assert_eq!(ask(&replica, &assertion).await.error(), unauthorized(), "{audience}");
    }
    assert_eq!(ask(&replica, &signer.assertion(&json!({"jti": "once"}))).await.status, 200);
}

/// J12: FAPI 2.0 Security Profile §5.4. `invalid_client`, on which the OpenID suite insists, also for a key that policy would not have
/// registered.
#[tokio::test]
async fn a_fapi_client_signs_with_anything_but_rs256() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::of(algorithm);
        let replica = replica(vec![signer.registered(&json!({}))]);
        assert_eq!(ask(&replica, &signer.assertion(&json!({}))).await.status, 200, "{algorithm:?}");
        follow(&replica, AssertionProfile::Fapi2);
        let answer = ask(&replica, &signer.assertion(&json!({}))).await;
        if algorithm == Algorithm::Rs256 {
            assert_eq!(answer.error(), unauthorized());
        } else {
            assert_eq!(answer.status, 200, "{algorithm:?}");
        }
    }
    // The same key, which was registered for PS256.
    let signer = Signer::of(Algorithm::Rs256);
    let replica = replica(vec![signer.registered(&json!({"alg": "PS256"}))]);
    follow(&replica, AssertionProfile::Fapi2);
    assert_eq!(ask(&replica, &signer.assertion(&json!({}))).await.error(), unauthorized());
}

/// J07: FAPI 2.0 Security Profile §5.3.2.1: clocks may differ by ten seconds, and not by more than a minute.
#[tokio::test]
async fn a_fapi_clients_clock_may_be_ten_seconds_ahead() {
    let (replica, signer) = usual();
    follow(&replica, AssertionProfile::Fapi2);
    let now = now();
    for (changes, status) in
        [(json!({"iat": now + 10}), 200), (json!({"nbf": now + 10}), 200), (json!({"iat": now + 90}), 401), (json!({"nbf": now + 90}), 401)]
    {
        assert_eq!(ask(&replica, &signer.assertion(&changes)).await.status, status, "{changes}");
    }
}
