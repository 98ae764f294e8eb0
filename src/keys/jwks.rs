//! Public keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638).
