//! Numbers of bytes as people write them: `1048576`, `10MiB`, `10MB`, `512m`.

use super::clean;

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write for example 10MiB")]
pub struct SizeError(String);

const UNITS: [(&str, u64); 11] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    // As `docker run --memory` takes them.
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("", 1),
];

/// Reads `1048576`, `10MiB`, `1.5GiB`, `10MB` or, as Docker does, `512m`.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let wrong = || SizeError(clean(text, 60));
    let trimmed = text.trim();
    let (unit, factor) =
        UNITS.iter().find(|(unit, _)| trimmed.ends_with(unit)).expect("the last unit ends every text");
    let number = trimmed[..trimmed.len() - unit.len()].trim_end();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor).ok_or_else(wrong);
    }
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let fraction: f64 = number.parse().ok().filter(|_| plain && *factor > 1).ok_or_else(wrong)?;
    let bytes = (fraction * *factor as f64).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    if bytes < 9e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Writes bytes in the largest binary unit of which there is at least one: `1.5 GiB`.
pub fn format_size(bytes: f64) -> String {
    const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 1023.95 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value.abs() < 99.95);
    format!("{value:.decimals$} {}", NAMES[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_their_units() {
        for (text, bytes) in [
            ("10MiB", 10 << 20),
            ("10 MB", 10_000_000),
            ("7", 7),
            ("512m", 512 << 20),
            ("1.5GiB", 3 << 29),
            (" 2g ", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5", "99999999999GiB", "10 miles", "1e3m", "1..5g", ".m", "NaNg"] {
            assert!(parse_size(bad).unwrap_err().to_string().contains("10MiB"), "{bad:?} was taken");
        }
    }

    #[test]
    fn they_are_written_for_people() {
        let written = [0.0, 1023.0, 1023.99, 1536.0, 200.0 * 1024.0, 3e9, 1e300].map(format_size);
        assert_eq!(written[..6], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "200 KiB", "2.8 GiB"]);
        assert!(written[6].ends_with(" PiB"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_size(&text);
        }

        #[test]
        fn nor_does_a_number(bytes in proptest::num::f64::ANY) {
            let _ = format_size(bytes);
        }
    }
}
