//! A writer of protobuf messages, as far as ONNX files and TensorBoard's events need one: varints, fixed fields and
//! length-delimited fields, after <https://protobuf.dev/programming-guides/encoding>.
//!
//! A message knows its length before its largest fields are there: such a field is a payload of a given length, which
//! is written when its turn comes. So a model is written weight by weight, and no copy of all of them is ever made.

/// The wire types that are written.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// A message whose length is known, with payloads `P` in the place of fields that are written later.
#[derive(Debug)]
pub(crate) struct Message<P> {
    parts: Vec<Part<P>>,
    len: u64,
}

/// A stretch of a message.
#[derive(Debug)]
pub(crate) enum Part<P> {
    /// Encoded bytes.
    Bytes(Vec<u8>),
    /// Bytes of a known number that the payload stands for.
    Payload(P),
}

impl<P> Message<P> {
    /// An empty message.
    pub(crate) fn new() -> Self {
        Self { parts: Vec::new(), len: 0 }
    }

    /// The length in bytes, payloads included.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The stretches of the message in their order.
    pub(crate) fn into_parts(self) -> Vec<Part<P>> {
        self.parts
    }

    /// Adds a field of an integer or an enumeration. A negative number takes ten bytes, as protobuf defines it.
    pub(crate) fn int(&mut self, field: u64, value: i64) -> &mut Self {
        self.key(field, VARINT);
        // The two's complement in 64 bits.
        self.varint(value as u64);
        self
    }

    /// Adds a field of a 32-bit float.
    pub(crate) fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.key(field, FIXED_32);
        self.push(&value.to_le_bytes());
        self
    }

    /// Adds a field of a 64-bit float.
    pub(crate) fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.key(field, FIXED_64);
        self.push(&value.to_le_bytes());
        self
    }

    /// Adds a field of bytes.
    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.push(bytes);
        self
    }

    /// Adds a field of text.
    pub(crate) fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    /// Adds a field that is a message.
    pub(crate) fn message(&mut self, field: u64, message: Self) -> &mut Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(message.len);
        let len = self.len + message.len;
        for part in message.parts {
            match part {
                Part::Bytes(bytes) => self.push(&bytes),
                Part::Payload(payload) => self.parts.push(Part::Payload(payload)),
            }
        }
        // Payloads included.
        self.len = len;
        self
    }

    /// Adds a field of `len` bytes that are written later.
    pub(crate) fn payload(&mut self, field: u64, len: u64, payload: P) -> &mut Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(len);
        self.parts.push(Part::Payload(payload));
        self.len += len;
        self
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.push(&[value as u8]);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push(Part::Bytes(bytes.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a message, with each payload written as itself.
    fn bytes(message: Message<&[u8]>) -> Vec<u8> {
        let len = message.len();
        let parts = message.into_parts().into_iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes,
            Part::Payload(payload) => payload.to_vec(),
        });
        let bytes: Vec<u8> = parts.collect();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    #[test]
    fn fields_are_encoded_as_protobuf_documents_it() {
        // The examples of the page on the encoding.
        let number = || {
            let mut message = Message::new();
            message.int(1, 150);
            message
        };
        assert_eq!(bytes(number()), [0x08, 0x96, 0x01]);
        let mut outer = Message::new();
        outer.message(3, number());
        assert_eq!(bytes(outer), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let mut message = Message::new();
        message.int(1, -2);
        assert_eq!(bytes(message), [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        let mut message = Message::new();
        message.text(2, "testing").float(20, 1.0).double(1, -2.0);
        assert_eq!(bytes(message), *b"\x12\x07testing\xa5\x01\0\0\x80\x3f\x09\0\0\0\0\0\0\0\xc0");
    }

    #[test]
    fn a_payload_is_counted_and_stands_in_its_place() {
        let mut inner = Message::new();
        inner.int(1, 7).payload(9, 300, &[b'x'; 300][..]).int(2, 1);
        let mut outer = Message::new();
        outer.int(1, 0).message(7, inner).text(2, "end");
        let mut expected = b"\x08\0\x3a\xb3\x02\x08\x07\x4a\xac\x02".to_vec();
        expected.extend([b'x'; 300]);
        expected.extend(b"\x10\x01\x12\x03end");
        assert_eq!(bytes(outer), expected);
    }
}
