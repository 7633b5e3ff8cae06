//! How long things took: a histogram that travels in JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Deserializer as De, Serialize, Serializer as Ser};

/// The longest time that is told from longer ones, in microseconds: a day.
const LONGEST: u64 = 24 * 3_600_000_000;

/// Times with three significant digits, up to a day. In JSON it is `HdrHistogram`'s own V2 format, compressed and in base
/// 64, as its libraries for other languages read it, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new(3)
    }
}

impl Latencies {
    /// Makes an empty one that tells times apart to so many significant digits, from 1 to 5.
    ///
    /// # Panics
    /// If there are more digits than that.
    #[must_use]
    pub fn new(digits: u8) -> Self {
        // It grows as far as it must; most of these hold milliseconds.
        let mut histogram = Histogram::new(digits).expect("the digits are within bounds");
        histogram.auto(true);
        Self(histogram)
    }

    /// Takes a time.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LONGEST);
        // It resizes itself, so nothing is refused.
        let _ = self.0.record(micros);
    }

    /// Takes another's times as well.
    pub fn add(&mut self, other: &Self) {
        // Both resize themselves, so nothing is refused.
        let _ = self.0.add(&other.0);
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the time that a share of them, from 0 to 1, did not exceed; zero of none.
    #[must_use]
    pub fn at(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// Returns the longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// Returns the mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.0.mean() / 1e6).unwrap_or_default()
    }
}

impl From<Histogram<u64>> for Latencies {
    /// Takes a histogram of microseconds.
    fn from(mut histogram: Histogram<u64>) -> Self {
        histogram.auto(true);
        Self(histogram)
    }
}

impl Serialize for Latencies {
    fn serialize<S: Ser>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: De<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let read = Deserializer::new().deserialize(&mut bytes.as_slice());
        let histogram: Histogram<u64> =
            read.map_err(|_| serde::de::Error::custom("not a histogram of HdrHistogram"))?;
        Ok(Self::from(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_in_json_and_adds_up_exactly() {
        let of = |times: &[u64]| {
            let mut latencies = Latencies::default();
            for micros in times {
                latencies.record(Duration::from_micros(*micros));
            }
            latencies
        };
        let (one, other) = (of(&[100, 200, 300]), of(&[400, 5_000_000]));

        let mut sum: Latencies = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        sum.add(&serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap());

        assert_eq!(sum, of(&[100, 200, 300, 400, 5_000_000]));
        assert_eq!((sum.count(), sum.at(0.5).as_micros()), (5, 300));
        assert!((4_990..=5_010).contains(&sum.max().as_millis()));
        assert_eq!(Latencies::default().at(0.99), Duration::ZERO);
        assert!(serde_json::from_str::<Latencies>("\"AAAA\"").is_err());
    }
}
