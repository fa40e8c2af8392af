//! How often a wrong token may be tried, by where the tries come from. Pure.
//!
//! No token of 256 random bits is ever guessed; this keeps those who try from filling log and database.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::Mono;

/// One more try is allowed after this long.
const EVERY: Duration = Duration::from_secs(6);

/// This many tries are allowed at once.
const AT_ONCE: u32 = 10;

/// The most places that are told apart; beyond that all further ones count as one.
const MOST: usize = 1024;

/// Tries that were not taken back. A place's time is when all its tries are forgotten: each adds [`EVERY`] to it.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<IpAddr, Mono>);

impl Attempts {
    /// Counts a try from `place`, or says how long it has to wait for one.
    pub(super) fn begin(&mut self, place: IpAddr, now: Mono) -> Result<(), Duration> {
        let place = self.known(net_of(place), now);
        let forgotten = self.0.get(&place).map_or(now, |at| (*at).max(now));
        let latest = now + EVERY * (AT_ONCE - 1);
        if forgotten > latest {
            return Err(forgotten - latest);
        }
        self.0.insert(place, forgotten + EVERY);
        Ok(())
    }

    /// Takes a try back: its token was right.
    pub(super) fn succeeded(&mut self, place: IpAddr, now: Mono) {
        let place = self.known(net_of(place), now);
        if let Some(forgotten) = self.0.get_mut(&place) {
            *forgotten = *forgotten - EVERY;
        }
    }

    /// `place`, or the one that stands for all for whom there is no room.
    fn known(&mut self, place: IpAddr, now: Mono) -> IpAddr {
        if !self.0.contains_key(&place) && self.0.len() >= MOST {
            self.0.retain(|_, forgotten| *forgotten > now);
            if self.0.len() >= MOST {
                return Ipv4Addr::UNSPECIFIED.into();
            }
        }
        place
    }
}

/// Whoever has one IPv6 address has its /64.
fn net_of(place: IpAddr) -> IpAddr {
    match place.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(last: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + last).into()
    }

    #[test]
    fn ten_at_once_then_one_in_six_seconds() {
        let mut attempts = Attempts::default();
        for _ in 0..AT_ONCE {
            assert_eq!(attempts.begin(place(1), Mono(0)), Ok(()));
        }
        assert_eq!(attempts.begin(place(1), Mono(0)), Err(EVERY));
        assert_eq!(attempts.begin(place(2), Mono(0)), Ok(()), "others are not concerned");
        assert_eq!(attempts.begin(place(1), Mono(5_000)), Err(Duration::from_secs(1)));
        assert_eq!(attempts.begin(place(1), Mono(6_000)), Ok(()));
        assert!(attempts.begin(place(1), Mono(6_000)).is_err());
    }

    #[test]
    fn right_tokens_are_never_held_up() {
        let mut attempts = Attempts::default();
        for _ in 0..1_000 {
            assert_eq!(attempts.begin(place(1), Mono(0)), Ok(()));
            attempts.succeeded(place(1), Mono(0));
        }
    }

    #[test]
    fn an_ipv6_network_is_one_place() {
        let mut attempts = Attempts::default();
        for host in 0..AT_ONCE {
            attempts.begin(format!("2001:db8::{host:x}").parse().unwrap(), Mono(0)).unwrap();
        }
        assert!(attempts.begin("2001:db8::ffff".parse().unwrap(), Mono(0)).is_err());
        assert!(attempts.begin("2001:db8:0:1::1".parse().unwrap(), Mono(0)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn few_are_remembered_and_few_tries_pass(
            tries in prop::collection::vec((0u32..3_000, 0i64..2_000), 1..6_000)
        ) {
            let (mut attempts, mut now, mut passed) = (Attempts::default(), 0, 0);
            for (from, later) in tries {
                now += later / 1_000;
                passed += i64::from(from == 7 && attempts.begin(place(from), Mono(now)).is_ok());
                let _ = attempts.begin(place(from + 10), Mono(now));
                prop_assert!(attempts.0.len() <= MOST + 1);
            }
            prop_assert!(passed <= i64::from(AT_ONCE) + now / 6_000);
        }
    }
}
