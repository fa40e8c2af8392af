//! Numbers as bytes: variable-length integers, decimals, columns.
//!
//! Measured values are decimals by nature: whole numbers, or a few digits that mean something. As `m * 10^-e` they
//! compress far better than as binary fractions, where 0.1 has no end. So whole numbers up to 2^53 are kept as they
//! are, and all others to [`DIGITS`] significant digits, an error of at most 0.000 5 %.

use pco::ChunkConfig;
use pco::wrapped::{FileCompressor, FileDecompressor};

/// Significant digits kept of a value that is not whole.
const DIGITS: i32 = 5;

/// The largest exponent of a [`Decimal`]; smaller fractions are kept as they are.
const MAX_EXPONENT: usize = 14;

/// In place of an exponent: the value is no decimal but the bytes of an `f64`.
const BINARY: u8 = 15;

/// Whole numbers below this are exact as `f64`.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Fewer numbers than this are not worth `pco`'s preamble.
const FEW: usize = 12;

static POWERS: [f64; MAX_EXPONENT + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// A value as it is kept: `m * 10^-e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    m: i64,
    e: u8,
}

impl Decimal {
    /// `None` for what is neither whole nor of a size that digits can be counted of.
    #[allow(clippy::cast_possible_truncation, reason = "all are within the bounds just checked")]
    fn of(value: f64) -> Option<Self> {
        if value.abs() >= WHOLE || value.is_nan() {
            return None;
        }
        let whole = value as i64;
        #[allow(clippy::float_cmp, reason = "whether it is whole is meant exactly")]
        if whole as f64 == value {
            return Some(Self { m: whole, e: 0 });
        }
        let size = value.abs().log10().floor() as i32;
        let e = (DIGITS - 1 - size).max(0);
        let mut e = usize::try_from(e).ok().filter(|e| *e <= MAX_EXPONENT)?;
        let mut m = (value * POWERS[e]).round() as i64;
        while e > 0 && m % 10 == 0 {
            (m, e) = (m / 10, e - 1);
        }
        Some(Self { m, e: e as u8 })
    }

    fn value(self) -> f64 {
        self.m as f64 / POWERS[usize::from(self.e)]
    }

    /// The same as a count of `10^-e`, for an `e` not smaller than its own.
    fn scaled(self, e: u8) -> Option<i64> {
        let more = u32::from(e.checked_sub(self.e)?);
        self.m.checked_mul(10_i64.checked_pow(more)?).filter(|m| (m.unsigned_abs() as f64) < WHOLE)
    }
}

/// The value as it comes back from where it is kept.
pub(super) fn rounded(value: f64) -> f64 {
    Decimal::of(value).map_or(value, Decimal::value)
}

/// Reads bytes front to back; `None` where they end too early or make no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    /// A number as [`put`] wrote it.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number that has to be below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> Option<usize> {
        self.number().and_then(|n| usize::try_from(n).ok()).filter(|n| *n < limit)
    }

    fn signed(&mut self) -> Option<i64> {
        self.number().map(unfold)
    }

    /// A value as [`put_value`] wrote it.
    pub(super) fn value(&mut self) -> Option<f64> {
        let word = self.number()?;
        let e = (word & 15) as u8;
        if e == BINARY {
            return self.take(8)?.try_into().ok().map(f64::from_le_bytes);
        }
        Some(Decimal { m: unfold(word >> 4), e }.value())
    }

    /// Passes over a value.
    pub(super) fn skip_value(&mut self) -> Option<()> {
        let more = self.0.iter().position(|byte| *byte < 0x80)?;
        let binary = self.0[0] & 15 == BINARY;
        self.take(more + 1 + if binary { 8 } else { 0 }).map(drop)
    }
}

/// Writes a number: seven bits a byte, the lowest first, the high bit set on all but the last.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is below 128")]
    out.push(number as u8);
}

/// Writes one value by itself.
pub(super) fn put_value(out: &mut Vec<u8>, value: f64) {
    if let Some(Decimal { m, e }) = Decimal::of(value) {
        put(out, fold(m) << 4 | u64::from(e));
    } else {
        out.push(BINARY);
        out.extend(value.to_le_bytes());
    }
}

/// Signed as unsigned, small amounts as small numbers.
fn fold(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

fn unfold(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Writes whole numbers, whose count the reader knows otherwise.
pub(super) fn put_integers(out: &mut Vec<u8>, numbers: &[i64]) {
    let Some(&first) = numbers.first() else { return };
    if numbers.iter().all(|n| *n == first) {
        out.push(0);
        put(out, fold(first));
    } else if let Some(packed) = (numbers.len() >= FEW).then(|| pack(numbers)).flatten() {
        out.push(1);
        put(out, packed.len() as u64);
        out.extend(packed);
    } else {
        out.push(2);
        let mut before = 0;
        for number in numbers {
            put(out, fold(number.wrapping_sub(before)));
            before = *number;
        }
    }
}

/// Level 4 of 12 costs three quarters of the time of the default 8, for 0.2 % more bytes.
fn pack(numbers: &[i64]) -> Option<Vec<u8>> {
    let config = ChunkConfig::default().with_compression_level(4);
    let file = FileCompressor::default();
    let mut out = file.write_header(Vec::new()).ok()?;
    let mut chunk = file.chunk_compressor(numbers, &config).ok()?;
    out = chunk.write_meta(out).ok()?;
    chunk.write_page(0, out).ok()
}

fn unpack(packed: &[u8], len: usize) -> Option<Vec<i64>> {
    let (file, rest) = FileDecompressor::new(packed).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<i64, _>(rest).ok()?;
    let mut numbers = vec![0; len];
    let progress = chunk.page_decompressor(rest, len).ok()?.read(&mut numbers).ok()?;
    (progress.n_processed == len).then_some(numbers)
}

/// Reads `len` whole numbers.
pub(super) fn integers(from: &mut Reader<'_>, len: usize) -> Option<Vec<i64>> {
    if len == 0 {
        return Some(Vec::new());
    }
    match from.byte()? {
        0 => from.signed().map(|n| vec![n; len]),
        1 => {
            let size = from.below(from.0.len())?;
            unpack(from.take(size)?, len)
        }
        2 => {
            let mut before: i64 = 0;
            let next = |_| {
                before = before.wrapping_add(from.signed()?);
                Some(before)
            };
            (0..len).map(next).collect()
        }
        _ => None,
    }
}

/// Several columns of values of the same length as whole numbers, and the exponent they share.
fn scale<const N: usize>(columns: [&[f64]; N]) -> Option<(u8, [Vec<i64>; N])> {
    let decimals = columns.map(|column| column.iter().map(|v| Decimal::of(*v)).collect::<Option<Vec<_>>>());
    let mut e = 0;
    for column in &decimals {
        e = column.as_ref()?.iter().map(|d| d.e).max().unwrap_or(0).max(e);
    }
    let mut scaled = std::array::from_fn(|_| Vec::new());
    for (column, scaled) in decimals.into_iter().zip(&mut scaled) {
        *scaled = column?.into_iter().map(|d| d.scaled(e)).collect::<Option<_>>()?;
    }
    Some((e, scaled))
}

fn put_binary(out: &mut Vec<u8>, column: &[f64]) {
    out.extend(column.iter().flat_map(|value| rounded(*value).to_le_bytes()));
}

fn binary(from: &mut Reader<'_>, len: usize) -> Option<Vec<f64>> {
    (0..len).map(|_| from.take(8)?.try_into().ok().map(f64::from_le_bytes)).collect()
}

fn values(numbers: &[i64], e: u8) -> Vec<f64> {
    numbers.iter().map(|m| Decimal { m: *m, e }.value()).collect()
}

fn exponent(from: &mut Reader<'_>) -> Option<u8> {
    from.byte().filter(|e| usize::from(*e) <= MAX_EXPONENT || *e == BINARY)
}

/// Writes values, whose count the reader knows otherwise.
pub(super) fn put_column(out: &mut Vec<u8>, column: &[f64]) {
    if let Some((e, [numbers])) = scale([column]) {
        out.push(e);
        put_integers(out, &numbers);
    } else {
        out.push(BINARY);
        put_binary(out, column);
    }
}

/// Reads `len` values.
pub(super) fn column(from: &mut Reader<'_>, len: usize) -> Option<Vec<f64>> {
    match exponent(from)? {
        BINARY => binary(from, len),
        e => integers(from, len).map(|numbers| values(&numbers, e)),
    }
}

/// Writes two columns of which the second is close to the first, as are maxima to their means.
pub(super) fn put_pair(out: &mut Vec<u8>, first: &[f64], second: &[f64]) {
    if let Some((e, [first, mut second])) = scale([first, second]) {
        out.push(e);
        second.iter_mut().zip(&first).for_each(|(b, a)| *b -= a);
        put_integers(out, &first);
        put_integers(out, &second);
    } else {
        out.push(BINARY);
        put_binary(out, first);
        put_binary(out, second);
    }
}

/// Reads them.
pub(super) fn pair(from: &mut Reader<'_>, len: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    match exponent(from)? {
        BINARY => Some((binary(from, len)?, binary(from, len)?)),
        e => {
            let first = integers(from, len)?;
            let mut second = integers(from, len)?;
            second.iter_mut().zip(&first).for_each(|(b, a)| *b = b.wrapping_add(*a));
            Some((values(&first, e), values(&second, e)))
        }
    }
}

/// Writes numbers that only grow, e.g. times: mostly at equal distances.
pub(super) fn put_offsets(out: &mut Vec<u8>, offsets: &[u32]) {
    put(out, offsets.len() as u64);
    let Some(&first) = offsets.first() else { return };
    put(out, u64::from(first));
    let step = offsets.get(1).map_or(1, |second| second - first);
    if offsets.windows(2).all(|two| two[1] - two[0] == step) {
        put(out, u64::from(step));
    } else {
        put(out, 0);
        offsets.windows(2).for_each(|two| put(out, u64::from(two[1] - two[0])));
    }
}

/// Reads them; all are below `limit`.
pub(super) fn offsets(from: &mut Reader<'_>, limit: u32) -> Option<Vec<u32>> {
    let end = limit as usize;
    let len = from.below(end + 1)?;
    if len == 0 {
        return Some(Vec::new());
    }
    let mut at = from.below(end)?;
    let step = from.below(end + 1)?;
    let mut offsets = Vec::with_capacity(len);
    offsets.push(u32::try_from(at).ok()?);
    for _ in 1..len {
        let step = if step == 0 { from.below(end).filter(|step| *step > 0)? } else { step };
        at = Some(at + step).filter(|at| *at < end)?;
        offsets.push(u32::try_from(at).ok()?);
    }
    Some(offsets)
}
