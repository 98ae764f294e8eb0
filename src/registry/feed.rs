//! List and watch of one kind.
