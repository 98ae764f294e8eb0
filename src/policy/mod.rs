//! The installation's rules (chart values `policy:`), as pure functions of configuration and object: from an object of the API
//! to a valid one of the domain, or to all that is wrong with it, in words that say what to change.
