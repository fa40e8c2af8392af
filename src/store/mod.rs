//! State on disk, in SQLite. SQL exists only here.
