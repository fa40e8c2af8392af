//! Attacks on purpose: the antagonist, the dummy, and packet loss by netlink. Knows nothing of `monitor`.
