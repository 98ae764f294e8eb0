//! HS256 (RFC 7518 §3.2), which signs nothing of ours: what a verifier would have to compute that takes a public key for a secret
//! (RFC 8725 §2.1), for tokens that show whether one does (`oauth::probe`).

use aws_lc_rs::hmac;

/// The JWS signature of `input` by that `secret`.
#[must_use]
pub fn sign(secret: &[u8], input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    /// RFC 7515 appendix A.1.
    #[test]
    fn the_example_of_rfc_7515_is_signed_as_there() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = sign(&URL_SAFE_NO_PAD.decode(secret).unwrap(), input.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }
}
