//! Two clocks. *Service time* drives every transition: it runs `scale` times faster than the wall clock and can be
//! advanced by hand. *Stamps*, the timestamps in bodies, are wall time plus what was advanced.
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A point of service time: how long the workspace has existed.
pub type ServiceTime = Duration;

#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    scale: u32,
    advanced: Duration,
}

impl Clock {
    /// `scale` 0 counts as 1.
    pub fn new(scale: u32) -> Self {
        Self {
            started: Instant::now(),
            scale: scale.max(1),
            advanced: Duration::ZERO,
        }
    }

    pub fn now(&self) -> ServiceTime {
        self.started.elapsed().saturating_mul(self.scale) + self.advanced
    }

    /// Wall time plus what was advanced.
    pub fn stamp(&self) -> Timestamp {
        let advanced = SignedDuration::try_from(self.advanced).unwrap_or_default();
        Timestamp::now()
            .checked_add(advanced)
            .unwrap_or(Timestamp::MAX)
    }

    pub fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    pub fn scale(&self) -> u32 {
        self.scale
    }

    pub fn advanced(&self) -> Duration {
        self.advanced
    }
}

/// Reads `20m`, `1h 30m`, `500ms` or a number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|e| format!("`{text}` is no duration: {e}"));
    }
    let signed: SignedDuration = text
        .parse()
        .map_err(|e| format!("`{text}` is no duration such as 20m, 90s or 500ms: {e}"))?;
    Duration::try_from(signed).map_err(|_| format!("`{text}` is negative"))
}

/// Durations in JSON: a string as [`parse_duration`] reads it, or a number of seconds.
pub mod wire {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Seconds(f64),
        Text(String),
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        match Either::deserialize(from)? {
            Either::Seconds(s) => Duration::try_from_secs_f64(s).map_err(D::Error::custom),
            Either::Text(t) => super::parse_duration(&t).map_err(D::Error::custom),
        }
    }

    /// The same for a field that may be missing.
    pub mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer};

        #[derive(Deserialize)]
        struct Wrapped(#[serde(with = "super")] Duration);

        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(from)?.map(|w| w.0))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_like_people_write_them() {
        assert_eq!(parse_duration("20m").unwrap(), Duration::from_secs(1200));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("2.5").unwrap(), Duration::from_millis(2500));
        assert!(parse_duration("soon").unwrap_err().contains("`soon`"));
        assert!(parse_duration("-5s").unwrap_err().contains("negative"));
    }

    #[test]
    fn advancing_moves_service_time_and_stamps_alike() {
        let mut clock = Clock::new(1);
        let (service, stamp) = (clock.now(), clock.stamp());
        clock.advance(Duration::from_secs(1200));
        assert!(clock.now() - service >= Duration::from_secs(1200));
        assert!(clock.stamp().duration_since(stamp) >= SignedDuration::from_secs(1200));
    }
}
