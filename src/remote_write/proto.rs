//! The protobuf wire format, as far as remote write needs it: a cursor over fields that borrows everything.
//!
//! Encoding: <https://protobuf.dev/programming-guides/encoding/>. Unknown fields are skipped, groups are refused.

/// A message that is not valid protobuf, or has a field of a wrong type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct WireError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, from the start of the whole message.
    pub offset: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// Doubles and fixed integers of eight bytes.
    Fixed64(u64),
    /// Messages, texts, packed lists, with the offset of their first byte.
    Bytes(&'a [u8], usize),
    /// Fixed values of four bytes: no field of ours has one.
    Fixed32,
}

/// Walks the fields of one message.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the whole message, for errors.
    base: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: usize) -> Self {
        Fields { bytes, at: 0, base }
    }

    /// Bytes of this message read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn error(&self, what: &'static str) -> WireError {
        WireError { what, offset: self.base + self.at }
    }

    /// The next field's number and value; none at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Value::Fixed64(bytes.try_into().map(u64::from_le_bytes).unwrap_or_default())
            }
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let offset = self.base + self.at;
                Value::Bytes(self.take(length)?, offset)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(self.error("a field of unknown wire type")),
        };
        if tag >> 3 == 0 {
            return Err(self.error("a field with number 0"));
        }
        Ok(Some((tag >> 3, value)))
    }

    /// The next message of a stream in which each has its length before it; none at the end.
    pub(crate) fn delimited(&mut self) -> Result<Option<(&'a [u8], usize)>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let offset = self.base + self.at;
        Ok(Some((self.take(length)?, offset)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        // One byte is the common case: tags and lengths.
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(self.error("a cut number")) };
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number of more than 64 bits"))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.error("a field that is longer than its message"));
        };
        self.at += length;
        Ok(bytes)
    }
}

impl<'a> Value<'a> {
    /// A message, text or packed list with its offset.
    pub(crate) fn bytes(self, fields: &Fields<'_>) -> Result<(&'a [u8], usize), WireError> {
        match self {
            Value::Bytes(bytes, offset) => Ok((bytes, offset)),
            _ => Err(fields.error("a field that should be a message or a text")),
        }
    }

    /// An integer, boolean or enum.
    pub(crate) fn varint(self, fields: &Fields<'_>) -> Result<u64, WireError> {
        match self {
            Value::Varint(number) => Ok(number),
            _ => Err(fields.error("a field that should be an integer")),
        }
    }

    /// A double.
    pub(crate) fn double(self, fields: &Fields<'_>) -> Result<f64, WireError> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(fields.error("a field that should be a double")),
        }
    }
}

/// The number behind a zigzag encoded varint (`sint32`, `sint64`).
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The varints of a repeated field, packed or not: calls `each` for every one.
pub(crate) fn each_varint(value: Value<'_>, fields: &Fields<'_>, mut each: impl FnMut(u64)) -> Result<(), WireError> {
    match value {
        Value::Varint(number) => each(number),
        Value::Bytes(bytes, offset) => {
            let mut packed = Fields::new(bytes, offset);
            while packed.at < bytes.len() {
                each(packed.varint()?);
            }
        }
        _ => return Err(fields.error("a field that should be a list of integers")),
    }
    Ok(())
}

/// The numbers of a `repeated double`, packed or not.
pub(crate) fn each_double(value: Value<'_>, fields: &Fields<'_>, mut each: impl FnMut(f64)) -> Result<(), WireError> {
    match value {
        Value::Fixed64(bits) => each(f64::from_bits(bits)),
        Value::Bytes(bytes, _) => {
            let (numbers, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(fields.error("a list of doubles that is cut"));
            }
            numbers.iter().for_each(|number| each(f64::from_le_bytes(*number)));
        }
        _ => return Err(fields.error("a field that should be a list of doubles")),
    }
    Ok(())
}

/// The numbers of a `repeated uint32`, packed or not: calls `each` for every one.
pub(crate) fn each_u32(value: Value<'_>, fields: &Fields<'_>, mut each: impl FnMut(u32)) -> Result<(), WireError> {
    let number = |n: u64| u32::try_from(n).map_err(|_| fields.error("a reference of more than 32 bits"));
    match value {
        Value::Varint(n) => each(number(n)?),
        Value::Bytes(bytes, offset) => {
            let mut packed = Fields::new(bytes, offset);
            while packed.at < bytes.len() {
                each(number(packed.varint()?)?);
            }
        }
        _ => return Err(fields.error("a field that should be a list of integers")),
    }
    Ok(())
}

/// A sample: value is field 1, time in milliseconds field 2, in both versions.
pub(crate) fn sample(bytes: &[u8], offset: usize) -> Result<(i64, f64), WireError> {
    let mut fields = Fields::new(bytes, offset);
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => value = field.double(&fields)?,
            2 => timestamp_ms = field.varint(&fields)?.cast_signed(),
            _ => {}
        }
    }
    Ok((timestamp_ms, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, WireError> {
        let mut fields = Fields::new(bytes, 100);
        let mut list = Vec::new();
        while let Some(field) = fields.next()? {
            list.push(field);
        }
        Ok(list)
    }

    #[test]
    fn fields_of_each_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x25, 1, 2, 3, 4];
        let list = all(&bytes).unwrap();
        assert_eq!(list[0], (1, Value::Varint(150)));
        assert_eq!(list[1], (2, Value::Bytes(b"hi", 105)));
        assert_eq!(list[2], (3, Value::Fixed64(1.0_f64.to_bits())));
        assert_eq!(list[3], (4, Value::Fixed32));
    }

    #[test]
    fn broken_messages_say_where() {
        let max = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        let with_tag = |n: &[u8]| [&[0x08], n].concat();
        assert_eq!(all(&with_tag(&max)).unwrap(), [(1, Value::Varint(u64::MAX))]);
        let mut over = max;
        over[9] = 2;
        for (bytes, what) in [
            (with_tag(&over), "a number of more than 64 bits"),
            (vec![0x08], "a cut number"),
            (vec![0x08, 0x80], "a cut number"),
            (vec![0x12, 0x05, b'x'], "a field that is longer than its message"),
            (vec![0x11, 1, 2], "a field that is longer than its message"),
            (vec![0x0B], "a field of unknown wire type"),
            (vec![0x00, 0x00], "a field with number 0"),
        ] {
            let error = all(&bytes).unwrap_err();
            assert_eq!(error.what, what);
            assert!((100..=100 + bytes.len()).contains(&error.offset), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = all(&bytes);
            let _ = sample(&bytes, 0);
        }
    }
}
