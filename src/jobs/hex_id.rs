//! Ids of 32 hexadecimal digits, which all of Flink's are: dialects of Flink need one of every job and every vertex.

/// The id itself in lower case if it has this form, else one that the same id always has.
pub(crate) fn hex_id(id: &str) -> String {
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return id.to_ascii_lowercase();
    }
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_form_stays_and_others_get_one() {
        assert_eq!(hex_id("0D890D9D32CCFA02B7EAB50FA0435103"), "0d890d9d32ccfa02b7eab50fa0435103");
        let other = hex_id("etl/nightly");
        assert_eq!((other.len(), hex_id(&other)), (32, other.clone()));
        assert_ne!(other, hex_id("etl/hourly"));
        assert_eq!(hex_id("").len(), 32);
    }
}
