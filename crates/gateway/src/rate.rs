//! How many requests are taken of each token, and of each address without one.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use crate::config::Rate;

/// Addresses that are told apart; over this they share what one may send, so that memory has a bound.
const TOLD_APART: usize = 100_000;
/// After so many requests, who was not heard of for a while is forgotten.
const TIDIED: u32 = 4096;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// A token that is known.
    Token(Uuid),
    /// An address.
    Address(IpAddr),
}

impl Sender {
    /// A network of IPv6 is one sender: whoever has one has all of its addresses.
    pub(crate) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self::Address(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
            v4 => Self::Address(v4),
        }
    }
}

/// What each sender sent of late.
pub(crate) struct Rates {
    limiter: DefaultKeyedRateLimiter<Sender>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl Rates {
    pub(crate) fn new(rate: &Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            requests: AtomicU32::new(0),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The time after which another one is taken.
    pub(crate) fn take(&self, sender: Sender) -> Result<(), Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDIED) {
            self.limiter.retain_recent();
        }
        let crowded = matches!(sender, Sender::Address(_)) && self.limiter.len() > TOLD_APART;
        let sender = if crowded { Sender::Address(Ipv6Addr::UNSPECIFIED.into()) } else { sender };
        self.limiter.check_key(&sender).map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn each_sender_has_its_own_burst_and_networks_are_one_sender() {
        let two = NonZeroU32::MIN.saturating_add(1);
        let rates = Rates::new(&Rate { per_second: NonZeroU32::MIN, burst: two });
        let one = Sender::Token(Uuid::from_u128(1));
        assert_eq!([rates.take(one), rates.take(one)], [Ok(()), Ok(())]);
        let wait = rates.take(one).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(rates.take(Sender::Token(Uuid::from_u128(2))), Ok(()));
        let at = |text: &str| Sender::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }
}
