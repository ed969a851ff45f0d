//! Text messages in MIMI content (CBOR, draft-ietf-mimi-content-08), written and read by hand.

fn head(major: u8, value: usize) -> Vec<u8> {
    let major = major << 5;
    match value {
        0..24 => vec![major | u8::try_from(value).unwrap()],
        24..256 => vec![major | 0x18, u8::try_from(value).unwrap()],
        _ => [&[major | 0x19][..], &u16::try_from(value).unwrap().to_be_bytes()].concat(),
    }
}

fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len()), value.to_vec()].concat()
}

fn text(value: &str) -> Vec<u8> {
    [head(3, value.len()), value.as_bytes().to_vec()].concat()
}

/// A message with one part of plain text.
pub(crate) fn write(salt: &[u8; 16], sender: &str, room: &str, words: &str) -> Vec<u8> {
    const NULL: u8 = 0xf6;
    [
        head(4, 7),
        bytes(salt),
        vec![NULL],
        bytes(&[]),
        vec![NULL, NULL],
        [head(5, 2), vec![1], text(sender), vec![2], text(room)].concat(),
        [head(4, 5), vec![1], text(""), vec![1], text("text/plain"), bytes(words.as_bytes())].concat(),
    ]
    .concat()
}

/// Salt, sender, and all texts of a message.
pub(crate) fn read(message: &[u8]) -> (Vec<u8>, String, Vec<String>) {
    use ciborium::Value;

    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Bytes(bytes) => found.extend(String::from_utf8(bytes.clone())),
            _ => {}
        }
    }
    let value: Value = ciborium::from_reader(message).unwrap();
    let fields = value.as_array().unwrap();
    assert_eq!(fields.len(), 7);
    let extensions = fields[5].as_map().unwrap();
    let sender = extensions.iter().find(|(key, _)| *key == Value::from(1)).unwrap().1.as_text().unwrap();
    let mut found = Vec::new();
    texts(&fields[6], &mut found);
    (fields[0].as_bytes().unwrap().clone(), sender.to_owned(), found)
}
