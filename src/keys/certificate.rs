//! The self-signed CA and the serving certificate.
