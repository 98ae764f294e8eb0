//! The protocol (RFC 6749, 6750, 7662, 8414, 8707, 9068), as functions of a request, a snapshot and the time. No socket, no API
//! server, no clock. Every error is made by one table (`error`).
