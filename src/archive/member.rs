//! Tar members: the 512-byte blocks before the bytes. POSIX.1-2017, pax, "pax Interchange Format".

use tar::{Builder, EntryType, Header};

use crate::base::{Error, FilePath, Result};

/// Bytes of a tar block.
pub const BLOCK: u64 = 512;
/// From here on the size does not fit a ustar header (8 GiB).
const USTAR_SIZE_END: u64 = 1 << 33;
/// The last second that fits a ustar header (in the year 2242).
const USTAR_TIME_MAX: i64 = 0o77777777777;
/// No file system takes a longer name.
const NAME_MAX: usize = 255;
const COMPRESSED: &[u8] = b".zst";

/// What a member's header says.
#[derive(Debug, Clone)]
pub struct MemberHeader<'a> {
    /// The member's name; `.zst` is part of it where the bytes are compressed.
    pub name: &'a [u8],
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl<'a> MemberHeader<'a> {
    /// The header of a member that shoebox itself makes.
    pub fn own(name: &'a str) -> Self {
        MemberHeader { name: name.as_bytes(), mtime: 0, mode: 0o600, uid: 0, gid: 0 }
    }

    /// The blocks before `size` bytes of data. The length depends on the name and the time only
    /// when `wide` is set or the size fits ustar, so a header can be written again in the same
    /// place when the size is known.
    pub fn blocks(&self, size: u64, wide: bool) -> Result<Vec<u8>> {
        let seconds = self.mtime.div_euclid(1_000_000_000);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(u64::from(self.uid).min(0o7777777));
        header.set_gid(u64::from(self.gid).min(0o7777777));
        header.set_mtime(seconds.clamp(0, USTAR_TIME_MAX).cast_unsigned());
        header.set_size(if size < USTAR_SIZE_END { size } else { 0 });
        set_name(&mut header, self.name);
        header.set_cksum();
        let mut blocks = self.extensions(size, wide || size >= USTAR_SIZE_END)?;
        blocks.extend_from_slice(header.as_bytes());
        Ok(blocks)
    }

    /// The pax header; empty when ustar says it all.
    fn extensions(&self, size: u64, wide: bool) -> Result<Vec<u8>> {
        let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
        if self.name.len() > 100 {
            if std::str::from_utf8(self.name).is_err() {
                records.push(("hdrcharset", b"BINARY".to_vec()));
            }
            records.push(("path", self.name.to_vec()));
        }
        if self.mtime % 1_000_000_000 != 0
            || !(0..=USTAR_TIME_MAX).contains(&self.mtime.div_euclid(1_000_000_000))
        {
            records.push(("mtime", seconds(self.mtime).into_bytes()));
        }
        if wide {
            records.push(("size", format!("{size:020}").into_bytes()));
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > 0o7777777 {
                records.push((key, id.to_string().into_bytes()));
            }
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut builder = Builder::new(Vec::new());
        builder
            .append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_slice())))
            .map_err(|error| Error::io("writing a tar header", error))?;
        Ok(builder.get_ref().clone())
    }
}

/// Decimal seconds, as pax writes times.
fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The first 100 bytes at most; a pax record holds the whole where that is not enough.
fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

/// A member's header as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHeader {
    pub name: Vec<u8>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of the data.
    pub size: u64,
    /// The data are pax records for the member that follows.
    pub is_extension: bool,
}

impl FoundHeader {
    /// What a ustar block says; `None` when it is no header of a member as shoebox writes them, or
    /// its checksum is wrong.
    pub fn of_block(block: &[u8]) -> Option<FoundHeader> {
        let header = Header::from_byte_slice(block.get(..BLOCK as usize)?);
        let kind = header.entry_type();
        let is_known = matches!(kind, EntryType::Regular | EntryType::XHeader);
        if header.as_ustar().is_none() || !is_known || header.cksum().ok()? != checksum(block) {
            return None;
        }
        let name = &header.as_old().name;
        if kind == EntryType::XHeader {
            // Of a pax header only the size says something.
            let size = header.size().ok()?;
            return Some(FoundHeader {
                name: vec![],
                mtime: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                size,
                is_extension: true,
            });
        }
        Some(FoundHeader {
            name: name[..memchr::memchr(0, name).unwrap_or(name.len())].to_vec(),
            mtime: i64::try_from(header.mtime().ok()?).ok()?.checked_mul(1_000_000_000)?,
            mode: header.mode().ok()? & 0o7777,
            uid: u32::try_from(header.uid().ok()?).ok()?,
            gid: u32::try_from(header.gid().ok()?).ok()?,
            size: header.size().ok()?,
            is_extension: false,
        })
    }

    /// Takes in what the pax `records` before it say. `None` when they are none.
    pub fn extend(&mut self, records: &[u8]) -> Option<()> {
        for (key, value) in pax_records(records)? {
            let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
            match key {
                b"path" => self.name = value.to_vec(),
                b"mtime" => self.mtime = nanos(std::str::from_utf8(value).ok()?)?,
                b"size" => self.size = number()?,
                b"uid" => self.uid = u32::try_from(number()?).ok()?,
                b"gid" => self.gid = u32::try_from(number()?).ok()?,
                _ => {}
            }
        }
        Some(())
    }
}

/// The sum of a header's bytes, its own field taken as spaces. POSIX.1-2017, pax, "ustar
/// Interchange Format".
fn checksum(block: &[u8]) -> u32 {
    let bytes = block.iter().take(BLOCK as usize).enumerate();
    bytes
        .map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
        .sum()
}

/// The records of a pax header: each is its own length, a space, key `=` value and a line feed.
/// Values may hold any bytes.
fn pax_records(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = memchr::memchr(b' ', data)?;
        let len: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
        let record = data.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = memchr::memchr(b'=', record)?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[len..];
    }
    Some(records)
}

/// Nanoseconds of a time as pax writes it.
fn nanos(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos = seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(fraction.parse().ok()?)?;
    Some(sign * nanos)
}

/// Zero bytes that fill the last block of `size` bytes.
pub fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// The member name of a content: its path, with `.zst` where it is compressed.
pub fn content_name(path: &FilePath, compressed: bool) -> Vec<u8> {
    let mut name = path.as_bytes().to_vec();
    if compressed {
        name.extend_from_slice(COMPRESSED);
    }
    name
}

/// False for a path whose name would be too long with `.zst`: no `tar` could extract it.
pub fn may_be_compressed(path: &FilePath) -> bool {
    path.name().len() + COMPRESSED.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_can_be_written_again_with_another_size() {
        let name = "n".repeat(300);
        let header =
            MemberHeader { name: name.as_bytes(), mtime: 1, mode: 0o644, uid: 1 << 30, gid: 0 };
        let lens: Vec<_> =
            [0, 1 << 20, 1 << 40].map(|size| header.blocks(size, true).unwrap().len()).into();
        assert_eq!(lens, [lens[0]; 3]);
        assert_eq!(lens[0] % 512, 0);
    }

    #[test]
    fn times_before_1970_and_fractions_are_kept() {
        assert_eq!(seconds(1_700_000_000_000_000_001), "1700000000.000000001");
        assert_eq!(seconds(-1_500_000_000), "-1.500000000");
    }

    #[test]
    fn a_header_reads_back_with_all_that_pax_records_say() {
        for (name, mtime, uid, size) in [
            (b"a".to_vec(), 1_700_000_000_000_000_000, 7, 3),
            ([&b"upload/\xff\n1 x=".repeat(20)[..]].concat(), -1_500_000_000, 1 << 30, 9 << 30),
            (vec![b'n'; 100], 9_000_000_000_123_456_789, 0o7777777, 0),
        ] {
            let header = MemberHeader { name: &name, mtime, mode: 0o640, uid, gid: 5 };
            let blocks = header.blocks(size, false).unwrap();
            let (first, last) = (FoundHeader::of_block(&blocks).unwrap(), blocks.len() - 512);
            let mut found = FoundHeader::of_block(&blocks[last..]).unwrap();
            if first.is_extension {
                found.extend(&blocks[512..512 + first.size as usize]).unwrap();
            }
            assert_eq!(
                found,
                FoundHeader { name, mtime, mode: 0o640, uid, gid: 5, size, is_extension: false }
            );
        }
    }

    #[test]
    fn a_block_with_a_flipped_bit_is_no_header() {
        let blocks = MemberHeader::own("chunks/x").blocks(5, false).unwrap();
        for bit in 0..512 * 8 {
            let mut flipped = blocks.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(found) = FoundHeader::of_block(&flipped) {
                // Only spaces and zeros around the checksum's digits do not count.
                assert!((148..156).contains(&(bit / 8)), "{bit}: {found:?}");
            }
        }
        assert!(FoundHeader::of_block(&[0; 512]).is_none());
    }

    #[test]
    fn what_does_not_fit_ustar_stands_in_a_pax_record() {
        let plain = MemberHeader { name: b"a", mtime: 1_000_000_000, mode: 0o644, uid: 1, gid: 1 };
        let record = |header: MemberHeader<'_>, size, key: &str| {
            let blocks = header.blocks(size, false).unwrap();
            let text = String::from_utf8_lossy(&blocks[..blocks.len() - 512]).into_owned();
            text.lines().find_map(|line| {
                line.split_once(&format!(" {key}=")).map(|(_, value)| value.to_owned())
            })
        };
        assert_eq!(plain.blocks(8 << 30, false).unwrap().len(), 3 * 512);
        assert_eq!(plain.blocks((8 << 30) - 1, false).unwrap().len(), 512);
        assert_eq!(record(plain.clone(), 8 << 30, "size").unwrap().parse(), Ok(8u64 << 30));
        let late = MemberHeader { mtime: 9_000_000_000_000_000_000, ..plain.clone() };
        assert_eq!(record(late, 0, "mtime").as_deref(), Some("9000000000.000000000"));
        let early = MemberHeader { mtime: -1_000_000_000, ..plain.clone() };
        assert_eq!(record(early, 0, "mtime").as_deref(), Some("-1.000000000"));
        let foreign = MemberHeader { uid: 3_000_000, ..plain };
        assert_eq!(record(foreign, 0, "uid").as_deref(), Some("3000000"));
    }
}
