//! Errors as Flink's own clients read them: `org.apache.flink.util.SerializedThrowable` as Java serializes it, in base 64.
//!
//! The layout is that of 1.9 and 2.3 (Java Object Serialization Stream Protocol, version 5): the class with its two
//! superclasses, then the fields of each from the top down. It has neither a cause nor frames, and no exception inside it: a
//! client shows the class and the text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const MAGIC: [u8; 4] = [0xac, 0xed, 0, 5];
const NULL: u8 = 0x70;
const REFERENCE: u8 = 0x71;
const CLASS: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const LONG_STRING: u8 = 0x7c;
const END: u8 = 0x78;

/// The class has the default form.
const SERIALIZABLE: u8 = 2;
/// It writes more behind its fields, even if that is nothing.
const WRITES: u8 = 3;

/// The reference to the first text after the first class, which is `Ljava/lang/String;`.
const TEXT_TYPE: [u8; 5] = [REFERENCE, 0, 0x7e, 0, 1];

/// An error of a class, with a text that says what happened.
pub(super) fn serialized(class: &str, message: &str, trace: &str) -> String {
    let mut out = Vec::with_capacity(700 + message.len() + trace.len());
    out.extend(MAGIC);
    out.push(OBJECT);
    begin_class(&mut out, "org.apache.flink.util.SerializedThrowable", 0x6516_9df5_1fa7_13f3, SERIALIZABLE, 3);
    field(&mut out, b'L', "fullStringifiedStackTrace", Some("Ljava/lang/String;"));
    field(&mut out, b'L', "originalErrorClassName", None);
    field(&mut out, b'[', "serializedException", Some("[B"));
    out.push(END);
    begin_class(&mut out, "java.lang.Exception", 0xd0fd_1f3e_1a3b_1cc4, SERIALIZABLE, 0);
    out.push(END);
    begin_class(&mut out, "java.lang.Throwable", 0xd5c6_3527_3977_b8cb, WRITES, 4);
    field(&mut out, b'L', "cause", Some("Ljava/lang/Throwable;"));
    field(&mut out, b'L', "detailMessage", None);
    field(&mut out, b'[', "stackTrace", Some("[Ljava/lang/StackTraceElement;"));
    field(&mut out, b'L', "suppressedExceptions", Some("Ljava/util/List;"));
    out.extend([END, NULL]);
    // Of the throwable: cause, message, frames, suppressed ones, and nothing behind them.
    out.push(NULL);
    text(&mut out, message);
    out.extend([NULL, NULL, END]);
    // Of the class itself.
    text(&mut out, trace);
    text(&mut out, class);
    out.push(NULL);
    STANDARD.encode(out)
}

fn begin_class(out: &mut Vec<u8>, name: &str, version: u64, flags: u8, fields: u16) {
    out.push(CLASS);
    short(out, name.as_bytes());
    out.extend(version.to_be_bytes());
    out.push(flags);
    out.extend(fields.to_be_bytes());
}

/// A field that is an object; the type of a text is known after the first.
fn field(out: &mut Vec<u8>, kind: u8, name: &str, of: Option<&str>) {
    out.push(kind);
    short(out, name.as_bytes());
    match of {
        Some(of) => text(out, of),
        None => out.extend(TEXT_TYPE),
    }
}

/// Names are ours and short.
fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}

fn text(out: &mut Vec<u8>, text: &str) {
    let bytes = java_utf8(text);
    match u16::try_from(bytes.len()) {
        Ok(_) => {
            out.push(STRING);
            short(out, &bytes);
        }
        Err(_) => {
            out.push(LONG_STRING);
            out.extend((bytes.len() as u64).to_be_bytes());
            out.extend(bytes);
        }
    }
}

/// Java's own UTF-8: each half of a surrogate pair by itself, and no zero byte.
fn java_utf8(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let low = |shift: u16| 0x80 | ((unit >> shift) & 0x3f) as u8;
        match unit {
            1..=0x7f => bytes.push(unit as u8),
            0 | 0x80..=0x7ff => bytes.extend([0xc0 | (unit >> 6) as u8, low(0)]),
            _ => bytes.extend([0xe0 | (unit >> 12) as u8, low(6), low(0)]),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of what Flink 2.3.0 and 1.9.3 answer, up to the fields of the object.
    const RECORDED: &str = "rO0ABXNyAClvcmcuYXBhY2hlLmZsaW5rLnV0aWwuU2VyaWFsaXplZFRocm93YWJsZWUWnfUfpxPzAgADTAAZZnVsbFN0cmluZ2lmaWVkU3RhY2\
        tUcmFjZXQAEkxqYXZhL2xhbmcvU3RyaW5nO0wAFm9yaWdpbmFsRXJyb3JDbGFzc05hbWVxAH4AAVsAE3NlcmlhbGl6ZWRFeGNlcHRpb250AAJb\
        QnhyABNqYXZhLmxhbmcuRXhjZXB0aW9u0P0fPho7HMQCAAB4cgATamF2YS5sYW5nLlRocm93YWJsZdXGNSc5d7jLAwAETAAFY2F1c2V0ABVMam\
        F2YS9sYW5nL1Rocm93YWJsZTtMAA1kZXRhaWxNZXNzYWdlcQB+AAFbAApzdGFja1RyYWNldAAeW0xqYXZhL2xhbmcvU3RhY2tUcmFjZUVsZW1l\
        bnQ7TAAUc3VwcHJlc3NlZEV4Y2VwdGlvbnN0ABBMamF2YS91dGlsL0xpc3Q7eHA=";

    #[test]
    fn the_class_is_described_as_flink_does_and_the_fields_follow() {
        let found = STANDARD.decode(serialized("X", "no", "X: no")).unwrap();
        let head = STANDARD.decode(RECORDED).unwrap();
        let (described, fields) = found.split_at(head.len());
        assert_eq!(described, head);
        assert_eq!(fields, b"pt\x00\x02noppxt\x00\x05X: not\x00\x01Xp");
    }

    #[test]
    fn texts_are_in_javas_own_utf_8() {
        assert_eq!(java_utf8("a\0é€"), [b'a', 0xc0, 0x80, 0xc3, 0xa9, 0xe2, 0x82, 0xac]);
        assert_eq!(java_utf8("😀"), [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
        let mut out = Vec::new();
        text(&mut out, &"x".repeat(65_536));
        assert_eq!((&out[..9], out.len()), (&[LONG_STRING, 0, 0, 0, 0, 0, 1, 0, 0][..], 9 + 65_536));
        out.clear();
        text(&mut out, &"x".repeat(65_535));
        assert_eq!(out[..3], [STRING, 0xff, 0xff]);
    }
}
