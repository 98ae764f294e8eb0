//! What an access token claims (RFC 9068 §2.2).
