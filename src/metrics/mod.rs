//! What containers and machines use, read for almost nothing.
