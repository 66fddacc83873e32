//! Seals of the audit trail: what is hashed, and how.
//!
//! Everything is SHA-256 over *fields*, each of which says how long it is, so that no two different lists of
//! fields are the same bytes: a length of four bytes (`FFFFFFFF` for NULL), then the value. Integers are of eight
//! bytes, two's complement; times are microseconds since 2000-01-01 UTC as such an integer; all of them big-endian.
//!
//! - A **row**: the text `gemba audit row 1`, then its columns.
//! - A **batch**: for each row in the order of ids, the id and the row's hash; both are of fixed length, so
//!   nothing says how long they are.
//! - A **seal**: the text `gemba audit seal 1`, then its columns but its own hash. The hash of the seal before is
//!   one of them, so that a seal vouches for everything before it.

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];
/// The bytes of a UUID.
pub type Id = [u8; 16];

/// What the first seal has for the hash of the one before.
pub const NOTHING_BEFORE: Hash = [0; 32];

const ROW: &[u8] = b"gemba audit row 1";
const SEAL: &[u8] = b"gemba audit seal 1";
const NULL: u32 = u32::MAX;

/// Fields one after the other. It is made once and used again, because there are millions of rows.
#[derive(Debug, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// Begins a row.
    pub fn row(&mut self) {
        self.begin(ROW);
    }

    fn begin(&mut self, kind: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(kind);
    }

    /// The value of a column. (None is as long as the mark of NULL: the server's end at a gigabyte.)
    pub fn bytes(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(NULL, |value| value.len() as u32);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value.unwrap_or_default());
    }

    pub fn integer(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.bytes(Some(&value.to_be_bytes())),
            None => self.bytes(None),
        }
    }

    pub fn hash(&self) -> Hash {
        Sha256::digest(&self.0).into()
    }
}

/// The rows of a batch: each by its id and its hash.
#[derive(Debug, Default)]
pub struct Batch(Vec<(Id, Hash)>);

impl Batch {
    pub fn add(&mut self, id: Id, hash: Hash) {
        self.0.push((id, hash));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what came so far: the short digests and the hash of the batch.
    pub fn take(&mut self) -> (Vec<u8>, Hash) {
        self.0.sort_unstable();
        let mut whole = Sha256::new();
        let mut digests = Vec::with_capacity(self.0.len() * ENTRY);
        for (id, hash) in self.0.drain(..) {
            whole.update(id);
            whole.update(hash);
            digests.extend_from_slice(&id);
            digests.extend_from_slice(short(&hash));
        }
        (digests, whole.finalize().into())
    }
}

/// Bytes of a row in `digests`: its id, and so much of its hash.
pub const ENTRY: usize = 32;

fn short(hash: &Hash) -> &[u8] {
    &hash[..ENTRY - 16]
}

/// What `digests` says of a row.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a>(&'a [u8; ENTRY]);

impl Entry<'_> {
    pub fn id(&self) -> Id {
        *self.0.first_chunk().unwrap_or(&[0; 16])
    }

    pub fn is_of(&self, hash: &Hash) -> bool {
        self.0[16..] == *short(hash)
    }
}

/// The rows of a batch as its seal names them. What is no whole entry is left out.
pub fn entries(digests: &[u8]) -> impl ExactSizeIterator<Item = Entry<'_>> {
    digests.as_chunks::<ENTRY>().0.iter().map(Entry)
}

/// A seal, but for its own hash.
#[derive(Debug, Clone, Copy)]
pub struct Seal<'a> {
    pub id: i64,
    pub system: i64,
    pub upto: i64,
    pub rows: i64,
    pub first_at: Option<i64>,
    pub last_at: Option<i64>,
    pub digests: &'a [u8],
    pub batch: &'a [u8],
    pub previous: &'a [u8],
    pub sealed_at: i64,
}

impl Seal<'_> {
    pub fn hash(&self) -> Hash {
        let mut fields = Fields::default();
        fields.begin(SEAL);
        fields.integer(Some(self.id));
        fields.integer(Some(self.system));
        fields.integer(Some(self.upto));
        fields.integer(Some(self.rows));
        fields.integer(self.first_at);
        fields.integer(self.last_at);
        fields.bytes(Some(self.digests));
        fields.bytes(Some(self.batch));
        fields.bytes(Some(self.previous));
        fields.integer(Some(self.sealed_at));
        fields.hash()
    }
}

/// As it is published and compared: 64 digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash that somebody has written down. None when it is none.
pub fn parse_hex(text: &str) -> Option<Hash> {
    let text = text.trim();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(fields: &[Option<Vec<u8>>]) -> Hash {
        let mut made = Fields::default();
        made.row();
        for field in fields {
            made.bytes(field.as_deref());
        }
        made.hash()
    }

    #[test]
    fn it_is_what_the_documentation_says() {
        let mut fields = Fields::default();
        fields.row();
        fields.bytes(Some(b"ab"));
        fields.bytes(None);
        fields.integer(Some(-2));
        let by_hand = Sha256::digest(
            b"gemba audit row 1\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xfe",
        );
        assert_eq!(fields.hash(), <Hash>::from(by_hand));
    }

    #[test]
    fn a_batch_does_not_depend_on_the_order_of_arrival() {
        let rows: Vec<(Id, Hash)> = (0..50u8).map(|n| ([n; 16], [n ^ 0x5a; 32])).collect();
        let (mut forward, mut backward) = (Batch::default(), Batch::default());
        rows.iter().for_each(|(id, hash)| forward.add(*id, *hash));
        rows.iter()
            .rev()
            .for_each(|(id, hash)| backward.add(*id, *hash));
        let (digests, hash) = forward.take();
        assert_eq!((digests.clone(), hash), backward.take());
        assert!(forward.is_empty());
        assert_eq!(digests.len(), 50 * ENTRY);
        for (entry, (id, hash)) in entries(&digests).zip(&rows) {
            assert_eq!(entry.id(), *id);
            assert!(entry.is_of(hash));
            assert!(!entry.is_of(&[0xff; 32]));
        }
    }

    #[test]
    fn every_field_of_a_seal_counts() {
        let seal = Seal {
            id: 1,
            system: 2,
            upto: 3,
            rows: 4,
            first_at: Some(5),
            last_at: Some(6),
            digests: &[7],
            batch: &[8],
            previous: &NOTHING_BEFORE,
            sealed_at: 9,
        };
        let others = [
            Seal { id: 0, ..seal },
            Seal { system: 0, ..seal },
            Seal { upto: 0, ..seal },
            Seal { rows: 0, ..seal },
            Seal {
                first_at: None,
                ..seal
            },
            Seal {
                last_at: None,
                ..seal
            },
            Seal {
                digests: &[],
                ..seal
            },
            Seal { batch: &[], ..seal },
            Seal {
                previous: &[0; 31],
                ..seal
            },
            Seal {
                sealed_at: 0,
                ..seal
            },
            // What moves from one field to the next is another seal.
            Seal {
                digests: &[7, 8],
                batch: &[],
                ..seal
            },
        ];
        for other in others {
            assert_ne!(seal.hash(), other.hash(), "{other:?}");
        }
        assert_eq!(seal.hash(), Seal { ..seal }.hash());
    }

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let hash: Hash = std::array::from_fn(|n| n as u8 * 7);
        assert_eq!(parse_hex(&hex(&hash)), Some(hash));
        assert_eq!(
            parse_hex(&format!(" {}\n", hex(&hash).to_uppercase())),
            Some(hash)
        );
        let wrong = [
            "",
            "ab",
            &"0".repeat(63),
            &"g".repeat(64),
            &"+1".repeat(32),
            &"ü".repeat(32),
        ];
        for text in wrong {
            assert_eq!(parse_hex(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn different_rows_are_different_bytes(
            a in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..4)), 0..5),
            b in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..4)), 0..5),
        ) {
            prop_assert_eq!(a == b, row(&a) == row(&b));
        }
    }
}
