//! The REST server and what it knows of the fleet.
