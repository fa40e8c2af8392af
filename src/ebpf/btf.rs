//! Names that the running kernel's BTF has for the values of an enum. The crate `aya` reads the same file and keeps them to
//! itself. Layout: `linux/btf.h`.

use std::collections::BTreeMap;
use std::{fs, io};

/// Where the kernel shows its types.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// `BTF_MAGIC`, and the size of the header's part that we read.
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// `BTF_KIND_ENUM`, `BTF_KIND_ENUM64`
const ENUM: u32 = 6;
const ENUM64: u32 = 19;
/// The most values of an enum: what has more is not the one we look for.
const MOST_VALUES: usize = 4096;

/// The values of the kernel's enum `name`, each with its name.
pub(crate) fn enum_values(name: &str) -> io::Result<BTreeMap<u32, String>> {
    let broken =
        || io::Error::new(io::ErrorKind::InvalidData, format!("{VMLINUX} has no readable enum {name}"));
    values_in(&fs::read(VMLINUX)?, name).ok_or_else(broken)
}

fn values_in(btf: &[u8], wanted: &str) -> Option<BTreeMap<u32, String>> {
    let header = btf.get(..HEADER)?;
    if u16::from_ne_bytes([header[0], header[1]]) != MAGIC {
        return None;
    }
    let field = |at: usize| usize::try_from(u32_at(btf, at)?).ok();
    let (begins, types, types_len, strings) = (field(4)?, field(8)?, field(12)?, field(16)?);
    let types = btf.get(begins.checked_add(types)?..)?.get(..types_len)?;
    let strings = btf.get(begins.checked_add(strings)?..)?;
    let mut at = 0;
    while at < types.len() {
        let (name, info) = (u32_at(types, at)?, u32_at(types, at + 4)?);
        let (kind, length) = (info >> 24 & 0x1f, usize::try_from(info & 0xffff).ok()?);
        let body = types.get(at + 12..)?;
        if matches!(kind, ENUM | ENUM64) && text_at(strings, name)? == wanted.as_bytes() {
            return values(body, kind, length.min(MOST_VALUES), strings);
        }
        at += 12 + body_size(kind, length)?;
    }
    None
}

fn values(body: &[u8], kind: u32, count: usize, strings: &[u8]) -> Option<BTreeMap<u32, String>> {
    let size = if kind == ENUM { 8 } else { 12 };
    let one = |index: usize| {
        let (name, value) = (u32_at(body, index * size)?, u32_at(body, index * size + 4)?);
        Some((value, String::from_utf8_lossy(text_at(strings, name)?).into_owned()))
    };
    (0..count).map(one).collect()
}

/// How long what follows a type's first 12 bytes is.
fn body_size(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Integers, variables and declaration tags have one number more.
        1 | 14 | 17 => 4,
        // Pointers, forward declarations, typedefs, const and the like, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // An array.
        3 => 12,
        // Structs, unions, sections, and enums of 64 bits: three numbers each.
        4 | 5 | 15 | ENUM64 => 12 * count,
        // Enums, and the parameters of functions: two.
        ENUM | 13 => 8 * count,
        _ => return None,
    })
}

fn text_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    let text = strings.get(usize::try_from(offset).ok()?..)?;
    Some(&text[..text.iter().position(|byte| *byte == 0)?])
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_kernels_reasons_have_names() {
        let reasons = enum_values("skb_drop_reason").expect("this test needs a kernel with BTF, Linux 5.17");
        let named = |name: &str| reasons.values().any(|reason| reason == name);
        assert!(named("SKB_DROP_REASON_NETFILTER_DROP") && named("SKB_DROP_REASON_NO_SOCKET"), "{reasons:?}");
        assert!(enum_values("no_such_enum").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = values_in(&bytes, "x");
            let mut like = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 100, 0, 0, 0, 0, 1, 0, 0];
            like.extend(bytes);
            let _ = values_in(&like, "x");
        }
    }
}
