//! A strict, streaming reader of tar files: POSIX ustar and pax, GNU, and the old format.
//!
//! Owns how bytes become members; which of them a release may hold is `pack`'s to say. It is stricter than tar
//! libraries are: what two tars would read differently is an error, an archive without its end mark is truncated,
//! names may hold newlines, and no length that an archive claims is ever allocated unseen.

use std::io::{self, Read};

use tar::Header;

use super::error::malformed::Malformed;
use super::quote::quote;

const BLOCK: u64 = 512;
/// Far more than any real name or extended header needs.
const EXTENSION_MAX: u64 = 1024 * 1024;

/// Reads one tar stream.
pub struct Members<R> {
    input: R,
    /// Of the current member's content, not yet read.
    content: u64,
    /// After that, up to the next header.
    padding: u64,
}

/// One member; its content, if it has any, is read from [`Members`] before the next is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct TarMember {
    /// Its name, as the archive has it.
    pub path: Vec<u8>,
    /// Permissions and the odd bits beside them.
    pub mode: u32,
    /// Seconds since the epoch; 0 when it lies before, or is not known.
    pub mtime: u64,
    /// What it is.
    pub body: Body,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A link to this.
    Symlink(Vec<u8>),
    /// Another name for this member.
    HardLink(Vec<u8>),
}

/// What extension headers say of the member after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
    any: bool,
    pax: bool,
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = into.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        let got = self.input.read(&mut into[..want])?;
        if got == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= got as u64;
        Ok(got)
    }
}

impl<R: Read> Members<R> {
    /// Begins before the first member.
    pub fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0 }
    }

    /// Returns the next member; `None` only when the end mark was read and nothing follows it.
    #[expect(clippy::should_implement_trait, reason = "it fails, and between two members its content is read")]
    pub fn next(&mut self) -> Result<Option<TarMember>, Malformed> {
        let mut known = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if known.any { Err(Malformed::Truncated) } else { Ok(None) };
            };
            let kind = header.as_old().linkflag[0];
            let claimed = header.entry_size().map_err(|_| corrupt(&header, "its size is not a number"))?;
            match kind {
                b'x' | b'X' | b'g' => {
                    let records = self.extension(&header, claimed)?;
                    self.pax(&header, &records, kind == b'g', &mut known)?;
                }
                b'L' | b'K' => {
                    let mut name = self.extension(&header, claimed)?;
                    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                    let slot = if kind == b'L' { &mut known.path } else { &mut known.target };
                    if slot.replace(name).is_some() {
                        return Err(corrupt(&header, "it has two long names"));
                    }
                    known.any = true;
                }
                // A volume's label is no file.
                b'V' => self.expect(claimed)?,
                _ => return self.member(&header, kind, known.size.unwrap_or(claimed), known).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, kind: u8, size: u64, known: Extensions) -> Result<TarMember, Malformed> {
        let path = known.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = || {
            known.target.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default()
        };
        let unfit = |what: &str| Malformed::Unfit(format!("{} is {what}", quote(&path)));
        let slashed = path.last() == Some(&b'/');
        let body = match kind {
            b'0' | 0 | b'7' if slashed => Body::Directory,
            b'0' | 0 | b'7' => Body::File(size),
            b'1' => Body::HardLink(target()),
            b'2' => Body::Symlink(target()),
            b'3' => return Err(unfit("a character device")),
            b'4' => return Err(unfit("a block device")),
            b'5' => Body::Directory,
            b'6' => return Err(unfit("a named pipe")),
            b'S' => return Err(unfit("a sparse file, which not every tar can unpack")),
            b'D' => return Err(unfit("part of an incremental backup")),
            b'M' => return Err(unfit("continued from another volume")),
            other => return Err(unfit(&format!("of the unknown type {}", quote(&[other])))),
        };
        if !matches!(body, Body::File(_)) && size != 0 {
            return Err(Malformed::Corrupt(format!("{} is no file, but has content", quote(&path))));
        }
        self.expect(size)?;
        let mode = header.mode().map_err(|_| corrupt(header, "its mode is not a number"))?;
        // A time before the epoch is a negative number in base 256; its lower half reads as a huge one.
        let mtime = known.mtime.or_else(|| header.mtime().ok().filter(|t| i64::try_from(*t).is_ok())).unwrap_or(0);
        Ok(TarMember { path, mode, mtime, body })
    }

    /// Reads a header; `None` at the end mark, when only zeros follow.
    fn header(&mut self) -> Result<Option<Header>, Malformed> {
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return self.end().map(|()| None);
        }
        // The checksum is of the header with blanks in its own place; some old tars summed signed bytes.
        let counted = bytes[..148].iter().chain(&bytes[156..]);
        let unsigned = counted.clone().map(|b| i64::from(*b)).sum::<i64>() + 256;
        let signed = counted.map(|b| i64::from(b.cast_signed())).sum::<i64>() + 256;
        match header.cksum() {
            Ok(sum) if i64::from(sum) == unsigned || i64::from(sum) == signed => Ok(Some(header)),
            _ => Err(Malformed::Corrupt("a header's checksum is wrong".into())),
        }
    }

    /// Reads to the end of the stream, which also makes a decoder check its own checksum.
    fn end(&mut self) -> Result<(), Malformed> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(got) if buffer[..got].iter().all(|b| *b == 0) => {}
                Ok(_) => return Err(Malformed::Corrupt("something follows its end mark".into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sets how much content the current member has.
    fn expect(&mut self, size: u64) -> Result<(), Malformed> {
        let padded = size.checked_next_multiple_of(BLOCK);
        self.padding = padded.ok_or_else(|| Malformed::Corrupt("a size is impossible".into()))? - size;
        self.content = size;
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Malformed> {
        let left = self.content.saturating_add(self.padding);
        let skipped = io::copy(&mut self.input.by_ref().take(left), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        if skipped < left { Err(Malformed::Truncated) } else { Ok(()) }
    }

    fn extension(&mut self, header: &Header, size: u64) -> Result<Vec<u8>, Malformed> {
        if size > EXTENSION_MAX {
            return Err(corrupt(header, "its extended header is larger than 1 MiB"));
        }
        self.expect(size)?;
        let mut bytes = Vec::new();
        self.by_ref().take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads pax records (POSIX pax, "pax Header Block").
    ///
    /// A record is `LENGTH KEY=VALUE\n`; the length counts all of it.
    fn pax(&self, header: &Header, mut rest: &[u8], global: bool, known: &mut Extensions) -> Result<(), Malformed> {
        let bad = || corrupt(header, "its extended header is garbled");
        if !global && std::mem::replace(&mut known.pax, true) {
            return Err(corrupt(header, "it has two extended headers"));
        }
        known.any |= !global;
        while !rest.is_empty() {
            let space = rest.iter().take(8).position(|b| *b == b' ').ok_or_else(bad)?;
            let length = number(&rest[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            let record = rest.get(space + 1..length).ok_or_else(bad)?;
            rest = &rest[length..];
            let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.starts_with(b"GNU.sparse.") {
                return Err(Malformed::Unfit("it holds a sparse file, which not every tar can unpack".into()));
            }
            if global && [&b"path"[..], b"linkpath", b"size"].contains(&key) {
                return Err(corrupt(header, "its global header renames all members"));
            }
            match key {
                b"path" | b"linkpath" => {
                    let slot = if key == b"path" { &mut known.path } else { &mut known.target };
                    if slot.replace(value.to_vec()).is_some() {
                        return Err(corrupt(header, "it has two long names"));
                    }
                }
                b"size" => known.size = Some(number(value).ok_or_else(bad)?),
                // Fractions of a second are of no use here, and a negative time is 0.
                b"mtime" if !global => {
                    known.mtime = Some(value.split(|b| *b == b'.').next().and_then(number).unwrap_or(0));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn corrupt(header: &Header, why: &str) -> Malformed {
    Malformed::Corrupt(format!("at {}: {why}", quote(&header.path_bytes())))
}
